"""What the watchdog is told: HOME/etc/watch.json, read again whenever it changes."""

import json
from dataclasses import dataclass
from pathlib import Path

WATCH = "watch"  # the kind of the program that is the watchdog itself
NGINX = "nginx"
GUNICORN = "gunicorn"


@dataclass(frozen=True)
class Spec:
    """One supervised program. Only instances have a `service` and an `address`."""

    name: str
    kind: str  # nginx, tornado, gunicorn or watch
    service: str
    address: str
    weight: int
    hang_s: float  # 0: never killed for hanging
    grace_s: float


@dataclass(frozen=True)
class Conf:
    """The whole file, as far as the watchdog needs it."""

    root: Path
    supervisord: tuple[str, ...]  # the command that starts one
    peers: bool  # whether nginx is to be told
    host: str  # of several, the name of this one
    hear: str  # where to hear of the instances of other hosts
    tell: tuple[str, ...]  # whom to tell of the instances of this one
    key_file: Path  # the key that all hosts of a stack have
    closing_s: float
    proxy_grace_s: float
    programs: tuple[Spec, ...]


def read_conf(path: Path) -> Conf:
    """Read the file.

    Raises:
        OSError, ValueError: it cannot be read, or is not what it should be.
    """
    try:
        given = json.loads(path.read_text())
        return Conf(
            root=Path(given["root"]),
            supervisord=tuple(given["supervisord"]),
            peers=given["peers"],
            host=given["host"],
            hear=given["hear"],
            tell=tuple(given["tell"]),
            key_file=Path(given["key_file"]),
            closing_s=given["closing_s"],
            proxy_grace_s=given["proxy_grace_s"],
            programs=tuple(_spec(one) for one in given["programs"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error!r}") from error


def _spec(given: dict[str, object]) -> Spec:
    known = {name: given[name] for name in Spec.__dataclass_fields__}
    return Spec(**known)  # type: ignore[arg-type]  # bulkhead rendered it, from checked settings
