"""crash_at_boot: an instance dies, and each start of it fails, as with a broken release."""

import re
from pathlib import Path
from signal import SIGKILL

from bulkhead.clock import wait_until
from bulkhead.faults import admin, signals, supervised
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import held
from bulkhead.topology.model import Instance

CRASHED_S = 10
# supervisord's pause between two tries grows by a second with each; longer is not waited for.
BY_ITSELF_S = 8


@register
class CrashAtBoot(Fault):
    """The targets are killed, and exit with status 1 at every start while a file says so."""

    name = "crash_at_boot"

    def available(self, site: Site) -> str:
        """Only a service with an admin folder looks for the file."""
        return admin.missing(site)

    def heal(self, site: Site, targets: Targets) -> None:
        """Remove the files."""
        for one in targets:
            _order(site, one).unlink(missing_ok=True)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Kill them; held is that supervisord's log tells of a start of each that failed."""
        victims = signals.living(site, targets)
        log = site.home.supervisord_log
        names, seen = ", ".join(one.name for one in targets), log.stat().st_size
        try:
            for one in targets:
                _order(site, one).touch()
            signals.send(victims, SIGKILL)
            held(
                site,
                f"{names}: died at the start, says {log.name}",
                lambda: all(crashes(log, seen, one) for one in targets),
                CRASHED_S,
            )
            yield f"{names}: died at the start, says {log.name}"
        finally:
            self.heal(site, targets)
            how = "by itself"
            if not _serve(site, targets):
                supervised.start(site, targets)
                how = "when told to (startProcess)"
            undone = f"{signals.back(site, targets)}; supervisord started them {how}"
        return undone


def crashes(log: Path, seen: int, one: Instance) -> int:
    """How often it exited with a status by itself, as supervisord's log tells beyond `seen`."""
    with log.open("rb") as file:
        # A log that is shorter than it was has been rotated: all of it is new.
        file.seek(seen if log.stat().st_size >= seen else 0)
        told = file.read().decode(errors="replace")
    return len(
        re.findall(rf"exited: {re.escape(one.name)} \(exit status \d+; not expected\)", told)
    )


def _order(site: Site, one: Instance) -> Path:
    return site.home.admin / f"{one.name}.crash"


def _serve(site: Site, targets: Targets) -> bool:
    def all_serve() -> bool:
        return all(site.find(one) and site.accepts(one) for one in targets)

    return bool(wait_until(all_serve, BY_ITSELF_S))
