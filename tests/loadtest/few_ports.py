"""Runs a load on a silent server where the kernel has few local ports: in a network namespace.

    unshare --net --map-root-user python -m tests.loadtest.few_ports LOCUSTFILE ROWS WORDS...

Standard error is Locust's own; the exit code, too.
"""

import subprocess
import sys
from pathlib import Path

from loadtest.system import PORT_RANGE
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving

PORTS = (40_000, 40_019)


def main() -> int:
    """Run it to its end."""
    locustfile, rows, *words = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    PORT_RANGE.write_text("{} {}\n".format(*PORTS))
    with Misbehaving(("/silent",)) as server:
        asked: dict[str, object] = {"proxy_url": server.url}
        if locustfile == running.OPEN:
            asked |= {"arrivals": "constant", "rate": 100, "load_s": 5}
        done = running.locust(locustfile, *words, rows=Path(rows), settings=asked)
    print(done.stderr, file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
