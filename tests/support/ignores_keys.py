"""services.api, broken on purpose: it does a write as often as it is told to, whatever its key."""

import sys

from services.api.__main__ import main
from services.api.http import inputs

setattr(inputs, "read_key", lambda _request: None)  # noqa: B010 - it is not ours to assign

if __name__ == "__main__":
    sys.exit(main())
