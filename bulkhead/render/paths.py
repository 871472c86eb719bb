"""Where things are in a home folder. Every path of a running stack has its one name here."""

from dataclasses import dataclass
from pathlib import Path


class At:
    """The path of something in a home folder."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __get__(self, home: "Home", _: type["Home"]) -> Path:
        return home.path / self._place


@dataclass(frozen=True)
class Home:
    """The folder of one stack. All of it is mode 0700: what is in it belongs to one user."""

    path: Path

    etc = At("etc")  # rendered configuration
    nginx_conf = At("etc/nginx.conf")
    supervisord_conf = At("etc/supervisord.conf")
    watch_conf = At("etc/watch.json")  # the configuration of the watchdog
    peers = At("etc/peers")  # the instances that nginx knows before the watchdog tells it of any

    run = At("run")  # sockets, pids, and the record of the running stack
    record = At("run/stack.json")  # which stack runs here (supervise/record.py)
    standing = At("run/watch.json")  # how each program stands for the watchdog (watchdog/state.py)
    supervisor_socket = At("run/supervisor.sock")  # supervisord's XML-RPC
    internal_socket = At("run/internal.sock")  # nginx's internal listener
    # Where a new nginx master waits for the listening sockets of the old one's workers.
    heir_socket = At("run/heir.sock")
    admin = At("run/admin")  # the admin sockets of the instances' processes, INSTANCE.PID.sock
    # Where instances say that they are ready and that their loop turns (sd_notify(3)).
    notify_socket = At("run/notify.sock")
    watch_socket = At("run/watch.sock")  # the watchdog answers whoever asks whether its loop turns
    # A file for each supervised program, `PID START_TICKS`: the process that leads it.
    programs = At("run/programs")
    drained = At("run/drained")  # an empty file for each instance that an operator has drained
    # An empty file for each nginx worker, named by its pid, that is to close connections.
    closing = At("run/closing")
    orphans = At("run/orphans")  # a file for each process group whose leader has died, by number
    boots = At("run/boots")  # the boot semaphore (services/common/boot.py): a file a processor
    stopping = At("run/stopping")  # there while `down` stops the stack: bring nothing back

    log = At("log")  # the output of supervisord, nginx and the instances
    nginx_log = At("log/nginx.error.log")
    supervisord_log = At("log/supervisord.log")  # tells every start of every program

    rows = At("rows")  # proxy and service rows of the running stack
    proxy_rows = At("rows/proxy.jsonl")  # one line a request, written by nginx
    service_rows = At("rows/service.jsonl")  # two lines an execution, written by the services
    watch_rows = At("rows/watch.jsonl")  # the watchdog's event log

    data = At("data")  # the ledger and the session key: what outlives the stack
    ledger = At("data/ledger.sqlite3")
    secret = At("data/session.key")  # it signs session cookies

    runs = At("runs")  # run folders
    tmp = At("tmp")  # nginx's spool for bodies
