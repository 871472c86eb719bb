"""rotate: the files that grow are renamed, and everybody opens new ones, as at midnight."""

from pathlib import Path

from bulkhead.faults import operator, parts
from bulkhead.faults.base import Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone

# A run reads all of its rows in the end: none of the renamed files may be forgotten before.
KEEP = 1000


@register
class Rotate(parts.OnPart):
    """`bulkhead reopen`, while the stack writes."""

    name = "rotate"
    part = "files"
    patience_s = operator.patience_s(1)

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - all of them
        """Rotate; there is nothing to undo. Held is that requests are logged in a new file."""
        old = _inode(site.home.proxy_rows)
        operator.command(site, "reopen", "--keep", str(KEEP))

        def anew() -> bool:
            return _inode(site.home.proxy_rows) not in (0, old)

        held(site, f"{site.home.proxy_rows.name} is another file", anew)
        renamed = (path.name for path in site.home.rows.glob("*.1"))
        yield f"renamed: {', '.join(sorted(renamed))}"
        undone("must answer", tuple(site.topology.instances()), site.answers)
        return "nothing to undo; every instance answers"


def _inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0
