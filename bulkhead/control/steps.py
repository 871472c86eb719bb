"""The steps from one version of a running stack to another, each of which can be taken back.

Going back is the same walk in the other direction, over what had been touched.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL

from bulkhead.control import handover, nginx, process, record
from bulkhead.control.interrupts import held
from bulkhead.control.plan import NGINX, WATCH, Files, Plan, blend
from bulkhead.control.process import Process
from bulkhead.control.record import Record
from bulkhead.control.roll import describe, in_order, turns
from bulkhead.control.start import Say
from bulkhead.control.turn import Site, await_ready, end
from bulkhead.render.files import File, write_all
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology


@dataclass(frozen=True)
class Version:
    """A topology, the nginx that it runs, and the files that it renders to."""

    topology: Topology
    program: Path
    files: Files


@dataclass
class Steps:
    """The way from `old` to `new`; `touched` names the programs that it has laid hands on."""

    running: Record
    old: Version
    new: Version
    say: Say
    touched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = Home(self.new.topology.home)
        self.site = Site.of(self.new.topology, self.old.topology)

    def take(self, plan: Plan) -> None:
        """Take every step; a signal that would end the command waits for the end of a step.

        Raises:
            BulkheadError: a step failed; those after it have not been taken.
        """
        self._write(self.home.supervisord_conf)
        self.site.programs.reread()
        self._tell_watch()
        if plan.watch:
            self._replace_watch()
        for name in plan.added:
            self._add(self.site.instance(name))
        self._replace([self.site.instance(name) for name in plan.changed])
        self._write(*(path for path in self.new.files if path not in self._own()))
        if plan.nginx or plan.master:
            self._change_nginx(plan.master)
        for name in plan.removed:
            self._remove(self.site.instance(name))
        self._write(self.home.watch_conf)

    def back(self) -> "Steps":
        """The way back."""
        return Steps(self.running, self.new, self.old, self.say)

    def undoing(self, plan: Plan) -> Plan:
        """What of a plan has been begun, seen from the other end."""

        def begun(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name in self.touched)

        return Plan(
            watch=plan.watch and WATCH in self.touched,
            added=begun(plan.removed),
            changed=begun(plan.changed),
            nginx=plan.nginx and NGINX in self.touched,
            master=plan.master and NGINX in self.touched,
            removed=begun(plan.added),
            written=plan.written,
        )

    def _replace_watch(self) -> None:
        with held():
            self.touched.append(WATCH)
            self.site.programs.end(WATCH, handover.BOOT_S)
            self._swap(WATCH)
        self.say("  watch: replaced")

    def _add(self, one: Instance) -> None:
        with held():
            self.touched.append(one.name)
            self._tell_watch(one.name)
            self.site.programs.add(one.name)
            pid = await_ready(self.site, one)
            if one.service in self.old.topology.services:  # nginx has yet to hear of a new one
                self.site.rotation.put_back(one.name)
        self.say(f"  {one.name}: serves (pid {pid})")

    def _replace(self, instances: list[Instance]) -> None:
        def swap(one: Instance) -> None:
            self.touched.append(one.name)
            self._tell_watch(one.name)
            self._swap(one.name)

        order = in_order(self.site, instances)
        for number, turn in enumerate(turns(self.site, order, swap), 1):
            self.say(describe(turn, f"{number}/{len(order)}"))

    def _swap(self, name: str) -> None:
        """Run the other version of a program that has ended."""
        self.site.programs.remove(name)
        self.site.programs.add(name)

    def _change_nginx(self, master: bool) -> None:
        text = self.new.files[self.home.nginx_conf]
        proxy = self.new.topology.proxy
        with held():
            self.touched.append(NGINX)
            if master:
                nginx.test_draft(self.new.program, self.home, text).replace(self.home.nginx_conf)
                old = record.leader(self.home, NGINX)
                handover.succeed(self.home, proxy, old, partial(self._swap_master, old))
            else:
                handover.reconfigure(self.home, self.running, text, proxy)
        self.say(f"  nginx: {'replaced' if master else 'new workers serve the new configuration'}")

    def _swap_master(self, old: Process | None) -> None:
        if old:
            self.site.programs.orphan(NGINX)
            process.send(old, SIGKILL)  # where supervisord has only a stand-in of it
            process.wait_gone(old, handover.BOOT_S)
        else:
            self.site.programs.end(NGINX, handover.BOOT_S)
        self._swap(NGINX)

    def _remove(self, one: Instance) -> None:
        with held():
            self.touched.append(one.name)
            if self.site.rotation.serving([one.name]):
                self.site.rotation.take_out(one.name, self.site.grace_s(one))
            end(self.site, one)
            self.site.programs.remove(one.name)
            self._tell_watch(one.name)
            self.site.rotation.unmark(one.name)
        self.say(f"  {one.name}: removed")

    def _tell_watch(self, *names: str) -> None:
        """Let the watchdog know these programs as they are in the new version."""
        path = self.home.watch_conf
        if path in self.new.files:
            was = path.read_text() if path.exists() else ""
            told = blend(was, self.new.files[path], (NGINX, WATCH, *names))
            write_all([File(path, told)])

    def _write(self, *paths: Path) -> None:
        files = self.new.files
        write_all(File(path, files[path]) for path in paths if path in files)

    def _own(self) -> tuple[Path, ...]:
        """The files that have a step of their own."""
        return self.home.nginx_conf, self.home.supervisord_conf, self.home.watch_conf
