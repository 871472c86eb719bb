"""How long the account of a run takes to make, and how much memory.

Each size is a made-up run of so many requests with every observer's rows, 30 % of them writes, 2 %
tried twice and 0.1 % failed.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from bench.figures import Table
from bench.usage import temporary_folder
from bulkhead.records import ClientRow, EffectRow, EntryRow, Event, Found, ProxyRow, encode
from bulkhead.rundir import RunDir
from bulkhead.testing import ROOT
from bulkhead.topology import parse as topology

SIZES = (10_000, 100_000, 1_000_000)
FULL = 5_000_000
RATE = 2_000.0
ROUNDS = 2
START, WALL_OFFSET = 100.0, 1_790_000_000.0  # monotonic time at which the run begins; wall minus it
INSTANCES, FIRST_PORT = 4, 8101

BUILD = (
    "import sys; from pathlib import Path; from bulkhead.rundir import RunDir;"
    "from bulkhead.accounting import account; account.build(RunDir(Path(sys.argv[1])))"
)
COLUMNS = ("requests", "rows", "MB of rows", "s", "us each", "peak MB", "MB of account")


def measure(full: bool) -> Iterator[Table]:
    """The table, size by size; `full` adds the largest, once, which takes minutes."""
    table = Table(f"making an account, each of {ROUNDS} times", COLUMNS)
    for size in (*SIZES, *([FULL] if full else [])):
        print(f"  accounting: {size:,} requests", flush=True)
        with temporary_folder() as folder:
            run, rows = make(folder, size)
            written = sum(path.stat().st_size for path in folder.glob("*.jsonl")) / 1e6
            for _ in range(1 if size == FULL else ROUNDS):
                seconds, peak = measured(run)
                account = run.account.stat().st_size / 1e6
                cells = (seconds, seconds / size * 1e6, peak, account)
                table.rows.append([size, rows, written, *cells])
    yield table


def measured(run: RunDir) -> tuple[float, float]:
    """Seconds and peak MB of a process of its own that makes the account, its start included."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", BUILD, str(run.path)])
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, "no account was made"
    return time.monotonic() - began, used.ru_maxrss / 1024


def make(folder: Path, size: int) -> tuple[RunDir, int]:
    """A run of `size` requests, written as it is made, so that many need no memory; its rows."""
    run = RunDir(folder)
    settings = [f"services.api.instances={INSTANCES}", f"services.api.port={FIRST_PORT}"]
    configuration = topology.load(ROOT / "stack.toml", settings).file.model_dump(mode="json")
    facts = {"wall_minus_monotonic": WALL_OFFSET, "configuration": configuration}
    run.run_json.write_text(json.dumps(facts))
    run.watch_rows.touch()  # of a watchdog that saw nothing
    files: dict[Path, BinaryIO] = {}
    rows = 0
    with ExitStack() as opened:
        for path, row in made_up(run, size):
            if path not in files:
                files[path] = opened.enter_context(path.open("wb"))
            files[path].write(encode(row) + b"\n")
            rows += 1
    return run, rows


def made_up(run: RunDir, size: int) -> Iterator[tuple[Path, object]]:
    """The rows of all observers, which agree with each other, and in which file each belongs.

    Ids are as long as the load generator's.
    """
    phases = [(0.0, "warmup"), (2.0, "baseline"), (7.0, "faults"), (27.0, "recovery")]
    for after, phase in sorted([*phases, (size / RATE, "end")]):
        yield run.events, Event(START + after, "phase", target=phase)
    chance, applied_so_far = random.Random(size), 0
    for number in range(size):
        at, took = START + number / RATE, 0.002 + 0.01 * chance.random()
        lot, retried_s = chance.random(), 0.0
        served, writes = number % INSTANCES, chance.random() < 0.3
        instance, pid = f"api-{served + 1}", FIRST_PORT + served
        boot = f"{pid}.77"
        status = 503 if lot < 0.001 else 201 if writes else 200
        applied = writes and status == 201
        id_ = f"{number % 500:016x}-{number}"
        method = "POST" if writes else "GET"
        entry, key = (f"entry-{id_}", f"key-{id_}") if writes else ("entry-1", "")
        target = "/api/v1/entries" if writes else f"/api/v1/entries/{entry}"
        applied_so_far += applied
        amount = applied_so_far if writes else None
        # One good attempt, in 2 % after one that another instance refused.
        answered = f"{0.7 * took:.3f}"
        attempts = [(f"127.0.0.1:{pid}", str(status), "0.000", answered, answered)]
        if lot < 0.02:
            retried_s = 0.001
            other = f"127.0.0.1:{FIRST_PORT + (number + 1) % INSTANCES}"
            attempts.insert(0, (other, "502", "-", "-", f"{retried_s:.3f}"))
        # nginx's lists of both.
        addrs, statuses, connect, header, response = map(", ".join, zip(*attempts, strict=True))
        yield run.client_rows, ClientRow(
            id=id_, name=f"{method} /api/v1/entries" + ("" if writes else "/{id}"),
            method=method, target=target, planned=at, sent=at, done=at + retried_s + took,
            status=status, key=key, instance=instance, boot=boot, bytes=100,
            effect="create" if writes else "read", entry=entry if writes else "",
            amount=amount, found=[Found(entry, 1, amount or 1)] if status < 400 else None,
        )  # fmt: skip
        yield run.proxy_rows, ProxyRow(
            id=id_, proxy_id=f"proxy-of-{id_}",
            ended=WALL_OFFSET + at + retried_s + 0.9 * took, took=retried_s + 0.8 * took,
            method=method, target=target, status=status, bytes=100, complete="OK",
            request_class="retryable", key=key, client="127.0.0.1", worker=71, connection=1,
            addrs=addrs, statuses=statuses, connect=connect, header=header, response=response,
            instance=instance, boot=boot,
        )  # fmt: skip
        at += retried_s
        execution = {"id": id_, "n": number // INSTANCES + 1, "instance": instance, "pid": pid}
        begin = {"kind": "begin", "t": at + 0.2 * took, **execution, "boot": boot}
        end = {"kind": "end", "t": at + 0.8 * took, **execution, "boot": boot, "status": status}
        asked = {"method": method, "target": target, "key": key or None}
        yield run.service_rows, begin | asked
        yield run.service_rows, end | {"effect": "applied" if applied else "none"}
        if applied:
            yield run.effects, EffectRow(
                seq=applied_so_far, request_id=id_, key=key, op="create", entry_id=entry,
                version=1, instance=instance, boot=boot,
                at=WALL_OFFSET + at + 0.5 * took, amount=amount,
            )  # fmt: skip
            yield run.entries, EntryRow(entry, 1, False, amount)
