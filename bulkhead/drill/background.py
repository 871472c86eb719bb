"""Something that is done again and again beside the run, in a thread, for the time of a context."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Takes a `turn` every `every_s`; `failure` is what broke it, and then it takes no more."""

    def __init__(self, every_s: float) -> None:
        self.failure: Exception | None = None
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    @abstractmethod
    def turn(self) -> None:
        """Do it once."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every_s):
                self.turn()
        except Exception as error:
            self.failure = error
