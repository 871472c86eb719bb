"""`python -m services.api`: one instance of the API service, configured by its environment.

Exit codes: 0 after SIGTERM or SIGINT, 1 when it cannot start, 2 when a setting is unusable.
"""

import os

from services.common.boot import BootSemaphore, LowPriorityBoot

# Before the imports that take the time.
low_priority = LowPriorityBoot(os.environ)
semaphore = BootSemaphore(os.environ)

import asyncio  # noqa: E402
import logging  # noqa: E402
import sys  # noqa: E402
from typing import NoReturn  # noqa: E402

from services.api.app import InstanceStartError, serve  # noqa: E402
from services.api.ledger.entry import LedgerError  # noqa: E402
from services.common.settings import ApiSettings, SettingsError  # noqa: E402


def main() -> int:
    """Run one instance until it is told to stop; the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bulkhead").setLevel(logging.INFO)
    low_priority.restore()
    try:
        # Not asyncio.run: at its end that waits for every thread, and one of them may hang.
        asyncio.Runner().run(serve(ApiSettings.from_environment(), semaphore.release))
    except SettingsError as error:
        for problem in str(error).splitlines():
            print(f"services.api: {problem}", file=sys.stderr)
        return 2
    except (InstanceStartError, LedgerError) as error:
        print(f"services.api: {error}", file=sys.stderr)
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """End this process, even if a thread of it still waits for a name or for a broken disk.

    Every request is done, or its time is over (`app.drain`). The interpreter would wait on.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
