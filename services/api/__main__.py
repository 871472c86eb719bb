"""`python -m services.api`: one instance of the API service, configured by its environment.

Exit codes: 0 after SIGTERM or SIGINT, 1 when it cannot start, 2 when a setting is unusable.
"""

import asyncio
import logging
import os
import sys

from services.api.server import StartError, serve
from services.api.settings import SettingsError, read_settings


def main() -> int:
    """Run one instance until it is told to stop; the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("bulkhead").setLevel(logging.INFO)
    try:
        asyncio.run(serve(read_settings(os.environ)))
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
