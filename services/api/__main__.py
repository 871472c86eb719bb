"""`python -m services.api`: one instance of the API service, configured by its environment.

Exit codes: 0 after SIGTERM or SIGINT, 1 when it cannot start, 2 when a setting is unusable.
"""

import os

from services.boots import Turn
from services.gently import Gently

# Before the imports that take the time.
gently = Gently(os.environ)
turn = Turn(os.environ)

import asyncio  # noqa: E402
import logging  # noqa: E402
import sys  # noqa: E402

from services.api.server import StartError, serve  # noqa: E402
from services.api.settings import SettingsError, read_settings  # noqa: E402


def main() -> int:
    """Run one instance until it is told to stop; the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bulkhead").setLevel(logging.INFO)
    gently.end()  # its imports are done; from here on it may have a lock that others wait for
    try:
        asyncio.run(serve(read_settings(os.environ), turn.end))
    except SettingsError as error:
        for problem in error.problems:
            print(f"services.api: {problem}", file=sys.stderr)
        return 2
    except StartError as error:
        print(f"services.api: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
