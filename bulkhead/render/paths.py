"""Where things are in a home folder. Every path of a running stack has its one name here."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder of one stack. All of it is mode 0700: what is in it belongs to one user."""

    path: Path

    @property
    def etc(self) -> Path:
        """Rendered configuration."""
        return self.path / "etc"

    @property
    def run(self) -> Path:
        """Sockets, pids, and the record of the running stack."""
        return self.path / "run"

    @property
    def log(self) -> Path:
        """What supervisord, nginx and the instances print."""
        return self.path / "log"

    @property
    def rows(self) -> Path:
        """Proxy and service rows of the running stack."""
        return self.path / "rows"

    @property
    def data(self) -> Path:
        """The ledger and the session key: what outlives the stack."""
        return self.path / "data"

    @property
    def runs(self) -> Path:
        """Run folders."""
        return self.path / "runs"

    @property
    def tmp(self) -> Path:
        """nginx's spool for bodies."""
        return self.path / "tmp"

    @property
    def supervisor_socket(self) -> Path:
        """supervisord's XML-RPC."""
        return self.run / "supervisor.sock"

    @property
    def internal_socket(self) -> Path:
        """nginx's internal listener."""
        return self.run / "internal.sock"

    @property
    def admin(self) -> Path:
        """The admin sockets of the instances' processes, INSTANCE.PID.sock."""
        return self.run / "admin"

    @property
    def notify_socket(self) -> Path:
        """Where instances say that they are ready and that their loop turns (sd_notify(3))."""
        return self.run / "notify.sock"

    @property
    def programs(self) -> Path:
        """A file for each supervised program, `PID START_TICKS`: the process that leads it."""
        return self.run / "programs"

    @property
    def out(self) -> Path:
        """An empty file for each instance that an operator has taken out of rotation."""
        return self.run / "out"

    @property
    def closing(self) -> Path:
        """An empty file for each nginx worker, named by its pid, that is to close connections."""
        return self.run / "closing"

    @property
    def strays(self) -> Path:
        """A file for each process group whose leader has died, named by its number."""
        return self.run / "strays"

    @property
    def boots(self) -> Path:
        """A file for each processor: who has locked it boots, others wait (services/boots.py)."""
        return self.run / "boots"

    @property
    def stopping(self) -> Path:
        """There while `down` stops the stack, so that nothing is brought back meanwhile."""
        return self.run / "stopping"

    @property
    def watch_conf(self) -> Path:
        """What the watchdog watches."""
        return self.etc / "watch.json"

    @property
    def peers(self) -> Path:
        """The instances that nginx knows before the watchdog has told it of any."""
        return self.etc / "peers"

    @property
    def watch_rows(self) -> Path:
        """What the watchdog saw and did, a line each."""
        return self.rows / "watch.jsonl"

    @property
    def nginx_conf(self) -> Path:
        """nginx's rendered configuration."""
        return self.etc / "nginx.conf"

    @property
    def supervisord_conf(self) -> Path:
        """supervisord's rendered configuration."""
        return self.etc / "supervisord.conf"

    @property
    def proxy_rows(self) -> Path:
        """One line a request, written by nginx."""
        return self.rows / "proxy.jsonl"

    @property
    def service_rows(self) -> Path:
        """Two lines an execution, written by the services."""
        return self.rows / "service.jsonl"

    @property
    def nginx_log(self) -> Path:
        """nginx's error log."""
        return self.log / "nginx.error.log"

    @property
    def supervisord_log(self) -> Path:
        """supervisord's own log, which tells every start of every program."""
        return self.log / "supervisord.log"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.data / "ledger.sqlite3"

    @property
    def secret(self) -> Path:
        """The key that signs session cookies."""
        return self.data / "session.key"
