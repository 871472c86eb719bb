"""python -m tests.judge.recorded RUN: make a run the one that is kept."""

import json
import sys
import tarfile
from pathlib import Path

from bulkhead.rundir import RunDir
from tests.judge.recorded import KEPT


def keep(run: RunDir) -> None:
    """Make a run the one that is kept."""
    facts = json.loads(run.run_json.read_text())
    wanted = {
        "format": facts["format"],
        "wall_minus_monotonic": facts["wall_minus_monotonic"],
        "configuration": {"services": facts["configuration"]["services"]},
    }
    run.run_json.write_text(json.dumps(wanted))
    with tarfile.open(KEPT, "w:xz") as kept:
        for path in (
            *(run.run_json, run.drill_json, run.client_rows, run.proxy_rows, run.service_rows),
            *(run.effects, run.entries, run.events, run.watch_rows),
        ):
            kept.add(path, path.name, filter=_nobodys)


def _nobodys(file: tarfile.TarInfo) -> tarfile.TarInfo:
    file.uid = file.gid = file.mtime = 0
    file.uname = file.gname = ""
    file.mode = 0o600
    return file


if __name__ == "__main__":
    keep(RunDir(Path(sys.argv[1])))
