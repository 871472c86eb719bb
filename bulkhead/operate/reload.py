"""A running stack takes up another topology: only what differs is replaced, step by step.

Every check comes before the first step. When a step fails, the same walk leads back over what had
been touched.
"""

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from signal import SIGKILL

from bulkhead import proc
from bulkhead.errors import BulkheadError, StartError, StateError, UsageError
from bulkhead.interrupts import signals_deferred
from bulkhead.operate.plan import Plan, Version, blend, compare, describe, finishing, obstacles
from bulkhead.operate.roll import Running
from bulkhead.proc import Process
from bulkhead.render.files import File, text_of, write_all
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, WATCH
from bulkhead.supervise import nginx, preflight, record
from bulkhead.supervise.home import Say, lock
from bulkhead.supervise.record import Record
from bulkhead.supervise.start import render
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.topology.model import Instance, Topology
from bulkhead.topology.parse import assign, parse


def reload(topology: Topology, say: Say, dry_run: bool = False) -> Plan:
    """Let the running stack become what `topology` says; with `dry_run` only say how.

    StateError if the stack is not up, a port is taken, or a change needs a restart. ConfigError if
    nginx refuses the new configuration. StartError if something new did not become ready; all is
    back as it was.
    """
    home = Home(topology.home)
    with lock(home):
        return _become(home, record.require_whole(home), topology, say, dry_run)


def scale(home: Home, numbers: Mapping[str, int], say: Say, dry_run: bool = False) -> Plan:
    """Give services of the running stack another number of instances, and change nothing else.

    UsageError if there is no such service. ConfigError for a number that the topology does not
    allow. StateError, StartError as `reload`.
    """
    with lock(home):
        running = record.require_whole(home)
        services = running.resolved().services
        if wrong := [name for name in numbers if name not in services]:
            raise UsageError(
                f"scale {' '.join(wrong)}: no such service; there are {', '.join(services)}"
            )
        tree = deepcopy(running.topology)
        for name, number in numbers.items():
            assign(tree, f"services.{name}.instances={number}")
        return _become(home, running, parse(tree, Path(running.source)), say, dry_run)


def _become(home: Home, running: Record, topology: Topology, say: Say, dry_run: bool) -> Plan:
    was, program = running.resolved(), Path(running.nginx)
    wanted = program
    if topology.proxy.program != was.proxy.program:
        wanted = nginx.find_nginx(topology.proxy.program, os.environ.get("PATH", ""))
    files = {file.path: file.text for file in render(topology, wanted)}
    in_force = {path: text_of(path) for path in files if path.exists()}
    old, new = Version(was, program, in_force), Version(topology, wanted, files)
    nginx.master(home, running)  # without nginx there is nothing to apply a change to
    _check(home, running, old, new)
    left = Supervisord(home.supervisor_socket).reread()
    drained = sorted(path.name for path in home.drained.glob("*"))
    names = [instance.name for instance in topology.instances()]
    plan = finishing(compare(old, new), names, left, drained)
    if plan == Plan():
        say("nothing differs; nginx reads its configuration again all the same")
        plan = Plan(nginx=True)
    for line in describe(old, new, plan):
        say(line)
    if plan.master:
        nginx.refuse_gap(running, was.proxy)
    for line in preflight.warnings(topology):
        say(line)
    if not dry_run:
        Steps(running, old, new, say).carry_out(plan)
        after = topology.file.model_dump(mode="json", exclude_unset=True)
        known = record.require(home)  # read again: supervisord may have been replaced meanwhile
        record.write(home, replace(known, topology=after, nginx=str(wanted)))
    return plan


def _check(home: Home, running: Record, old: Version, new: Version) -> None:
    """Fail early, before anything changes."""
    if lines := obstacles(old, new):
        raise StateError(*lines, "`make restart` applies it, with a gap")
    preflight.check(new.topology, [process.pid for process in running.members()])
    had = {instance.name for instance in old.topology.instances()}
    taken = preflight.listeners()
    clashes = [
        f"{instance.name} would listen on {instance.address}, which {owner.describe()} of this "
        "stack holds; `make restart` applies it, with a gap"
        for instance in new.topology.instances()
        if instance.name not in had
        and (owner := preflight.blocking(instance.host, instance.port, taken))
    ]
    if clashes:
        raise StateError(*clashes)
    nginx.test_draft(new.program, home, new.files[home.nginx_conf])


@dataclass
class Steps:
    """The way from `old` to `new`; `touched` names the programs that it has laid hands on."""

    running: Record
    old: Version
    new: Version
    say: Say
    touched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.new.home
        self.stack = Running(self.new.topology, self.old.topology)

    def carry_out(self, plan: Plan) -> None:
        """Take all steps, or go back over those that were taken."""
        try:
            self._take(plan)
        except BaseException as error:
            lines = error.lines if isinstance(error, BulkheadError) else (f"ended by {error}",)
            try:
                with signals_deferred():
                    self.say("going back to what was before")
                    Steps(self.running, self.new, self.old, self.say)._take(self._undoing(plan))
            except BulkheadError as second:
                raise StartError(
                    *lines,
                    "and going back failed:",
                    *second.lines,
                    "see `make status`; `make restart` starts all of it again",
                ) from error
            if isinstance(error, BulkheadError):
                back = "what had changed is back as it was, and serves"
                raise type(error)(*lines, back) from error
            raise

    def _take(self, plan: Plan) -> None:
        """Take every step; a signal that would end the command waits for the end of a step."""
        self._write(self.home.supervisord_conf)
        self.stack.supervisord.reread()
        self._tell_watch()
        if plan.watch:
            with signals_deferred():
                self.touched.append(WATCH)
                self.stack.supervisord.end(WATCH, nginx.BOOT_S)
                self._swap(WATCH)
            self.say("  watch: replaced")
        for name in plan.added:
            self._add(self.stack.instance(name))
        self._replace([self.stack.instance(name) for name in plan.changed])
        # Each of these three files has a step of its own.
        own = {self.home.nginx_conf, self.home.supervisord_conf, self.home.watch_conf}
        self._write(*(self.new.files.keys() - own))
        if plan.nginx or plan.master:
            self._change_nginx(plan.master)
        for name in plan.removed:
            self._remove(self.stack.instance(name))
        self._write(self.home.watch_conf)

    def _undoing(self, plan: Plan) -> Plan:
        """The part of a plan that was begun, seen from the other end."""

        def begun(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name in self.touched)

        return Plan(
            watch=WATCH in self.touched,
            added=begun(plan.removed),
            changed=begun(plan.changed),
            nginx=NGINX in self.touched,
            master=NGINX in self.touched and plan.master,
            removed=begun(plan.added),
        )

    def _add(self, instance: Instance) -> None:
        with signals_deferred():
            self.touched.append(instance.name)
            self._tell_watch(instance.name)
            self.stack.supervisord.add(instance.name)
            pid = self.stack.await_ready(instance)
            if instance.service in self.old.topology.services:  # nginx does not know a new one yet
                self.stack.put_back(instance.name)
        self.say(f"  {instance.name}: serves (pid {pid})")

    def _replace(self, instances: list[Instance]) -> None:
        def swap(instance: Instance) -> None:
            self.touched.append(instance.name)
            self._tell_watch(instance.name)
            self._swap(instance.name)

        order = self.stack.in_order(instances)
        for number, replaced in enumerate(self.stack.replace_each(order, swap), 1):
            self.say(replaced.describe(f"{number}/{len(order)}"))

    def _swap(self, name: str) -> None:
        """Run the other version of a program that has ended."""
        self.stack.supervisord.remove(name)
        self.stack.supervisord.add(name)

    def _change_nginx(self, master: bool) -> None:
        text, proxy = self.new.files[self.home.nginx_conf], self.new.topology.proxy
        with signals_deferred():
            self.touched.append(NGINX)
            if master:
                nginx.test_draft(self.new.program, self.home, text)
                self._write(self.home.nginx_conf)
                old = record.leader(self.home, NGINX)
                nginx.replace_master(self.home, proxy, old, partial(self._swap_master, old))
            else:
                nginx.reconfigure(self.home, self.running, text, proxy)
        self.say(f"  nginx: {'replaced' if master else 'new workers serve the new configuration'}")

    def _swap_master(self, old: Process | None) -> None:
        if old:
            self.stack.supervisord.orphan(NGINX)
            proc.send(old, SIGKILL)  # where supervisord has only a shim for it
            proc.wait_gone(old, nginx.BOOT_S)
        else:
            self.stack.supervisord.end(NGINX, nginx.BOOT_S)
        self._swap(NGINX)

    def _remove(self, instance: Instance) -> None:
        with signals_deferred():
            self.touched.append(instance.name)
            if self.stack.serving([instance]):
                self.stack.drain(instance)
            self.stack.end(instance)
            self.stack.supervisord.remove(instance.name)
            self._tell_watch(instance.name)
            self.stack.unmark(instance.name)
        self.say(f"  {instance.name}: removed")

    def _tell_watch(self, *names: str) -> None:
        """Let the watchdog know these programs as they are in the new version."""
        path = self.home.watch_conf
        if path in self.new.files:
            told = blend(text_of(path), self.new.files[path], (NGINX, WATCH, *names))
            write_all([File(path, told)])

    def _write(self, *paths: Path) -> None:
        files = self.new.files
        write_all(File(path, files[path]) for path in paths if path in files)
