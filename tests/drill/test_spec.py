"""Drill files: every mistake at once, each in one clear line; and the shipped ones are right."""

from pathlib import Path
from typing import get_args

import pytest

from bulkhead.drill import spec
from bulkhead.errors import ConfigError, UsageError
from bulkhead.topology import parse as topology
from loadtest import requests

SHIPPED = sorted(Path("drills").glob("*.toml"))
NAMES = [path.stem for path in SHIPPED]

HEAD = 'title = "t"\npredicts = "PASS"\n'
FAULT = '[[faults]]\nfault = "{}"\ntarget = "{}"\n'

# What is in the file after its head, and every line of complaint about it.
BAD = {
    "unknown-key": (
        "[load]\nrte = 5\n",
        "bad.toml: load.rte = 5: unknown key; did you mean rate? "
        "(known: locustfile, rate, rates, arrivals, mix, timeout_s, give_up_s, connections, "
        "workers)",
    ),
    "two-mistakes": (
        "[load]\nrate = 0\n[phases]\nbaseline_s = 0.5\n",
        "bad.toml: load.rate = 0: must be greater than 0",
        "bad.toml: phases.baseline_s = 0.5: must be at least 1",
    ),
    "no-worker": (
        "[load]\nworkers = 0\n",
        "bad.toml: load.workers = 0: must be at least 1",
    ),
    "workers-in-words": (
        '[load]\nworkers = "x"\n',
        'bad.toml: load.workers = "x": must be a whole number',
    ),
    "too-many-workers": (
        "[load]\nworkers = 17\n",
        "bad.toml: load.workers = 17: must be at most 16",
    ),
    "workers-without-connections": (
        "[load]\nworkers = 8\nconnections = 7\n",
        "bad.toml: load.workers = 8: each needs one of load.connections at least",
    ),
    "unknown-fault": (
        FAULT.format("kil", "any api"),
        "bad.toml: faults[0].fault = \"kil\": no such fault; did you mean kill? (known: ",
    ),
    "unknown-kind": (
        "[load.mix]\npots = 3\n",
        "bad.toml: load.mix.pots = \"pots\": must be one of 'get', 'list'",
    ),
    "nothing-to-send": (
        "[load.mix]\nget = 0\n",
        'bad.toml: load.mix = {"get": 0}: at least one kind of request must have a share',
    ),
    "too-late": (
        "[phases]\nfaults_s = 5\n" + FAULT.format("kill", "any api") + "at_s = 3\ntimes = 4\n",
        "bad.toml: faults[0] = 6.0: begins (s) after the faults phase has ended (phases.faults_s)",
    ),
    "too-late-by-chance": (
        "[phases]\nfaults_s = 5\n" + FAULT.format("kill", "any api") + "times = 6\nrandom = true\n",
        "bad.toml: faults[0] = 6.0: begins (s) after the faults phase has ended (phases.faults_s)",
    ),
    "rate-of-no-phase": (
        "[load.rates]\nfault = 5\n",
        "bad.toml: load.rates.fault = \"fault\": must be one of 'warmup', 'baseline'",
    ),
    "wrong-parameter": (
        FAULT.format("slow", "api-1") + "params = { slow_ms = -5 }\n",
        "bad.toml: faults[0].params = {\"slow_ms\": -5}: ",
    ),
    "no-bound": ("[expect]\nfailed = 3\n", "bad.toml: expect.failed = 3: unknown key"),
}  # fmt: skip


def complaints(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        spec.load(path)
    return caught.value.lines


@pytest.mark.parametrize("case", BAD)
def test_a_bad_drill_is_refused_with_a_line_for_each_mistake(case: str, tmp_path: Path) -> None:
    text, *expected = BAD[case]
    path = tmp_path / "bad.toml"
    path.write_text(HEAD + text)
    found = complaints(path)
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start), line


@pytest.mark.parametrize("path", SHIPPED, ids=NAMES)
def test_a_shipped_drill_is_right_and_tells_its_story(path: Path) -> None:
    drill = spec.load(path)
    assert drill.name == path.stem
    assert len(drill.story) > 100
    spec.fits(drill, topology.load(Path("stack.toml"), drill.file.settings))


def test_the_promised_drills_are_there() -> None:
    promised = (
        "kill-one kill-storm hang-one slow-one errors-one all-down crash-loop reload-storm "
        "worker-kill unkeyed-posts nginx-defaults steady kill-storm-unwatched hang-busy "
        "hang-worker overload metastable supervisord-kill watch-kill nginx-master-kill "
        "gunicorn-master-kill everything-kill disk-full descriptors rotate soak soak-short "
        "rows-disk-full"
    )
    assert set(promised.split()) <= set(NAMES)


def test_an_assignment_overrides_the_file() -> None:
    drill = spec.load(Path("drills/steady.toml"), ["drill.load.rate=77", "drill.load.mix.get=1"])
    assert drill.file.load.rate == 77
    assert drill.file.load.mix["get"] == 1


def test_a_target_that_the_stack_has_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(HEAD + FAULT.format("kill", "api-9") + FAULT.format("kill", "any app"))
    drill = spec.load(path)
    with pytest.raises(ConfigError) as caught:
        spec.fits(drill, topology.load(Path("stack.toml")))
    first, second = caught.value.lines
    assert first.startswith('bad.toml: faults[0].target = "api-9": ')
    assert second.startswith('bad.toml: faults[1].target = "any app": ')


def test_the_kinds_of_a_mix_are_those_that_the_load_knows() -> None:
    assert set(get_args(spec.Kind)) == set(requests.KINDS)


def test_a_drill_is_found_by_path_and_by_name() -> None:
    folder = Path("drills")
    assert spec.find(Path("steady"), folder) == folder / "steady.toml"
    assert spec.find(folder / "steady.toml", folder) == folder / "steady.toml"
    with pytest.raises(UsageError, match="kill-tsorm: no such drill; did you mean kill-storm"):
        spec.find(Path("kill-tsorm"), folder)


def test_the_story_is_the_comment_at_the_head(tmp_path: Path) -> None:
    path = tmp_path / "told.toml"
    path.write_text("# One line,\n# another.\n#\n# A paragraph.\n" + HEAD + "# not this\n")
    assert spec.load(path).story == "One line,\nanother.\n\nA paragraph."


def test_the_soak_kills_five_hundred_times_and_never_both_who_start_each_other() -> None:
    """A watchdog and a supervisord that are dead at one moment leave nobody to start either."""
    soak = spec.load(Path("drills/soak.toml")).file
    kills = [one for one in soak.faults if one.fault.startswith("kill")]
    assert sum(one.times for one in kills) >= 500
    moments = {
        fault: [
            one.at_s + turn * one.every_s
            for one in soak.faults
            if one.fault == fault and not one.random
            for turn in range(one.times)
        ]
        for fault in ("kill_watch", "kill_supervisord")
    }
    assert len(moments["kill_watch"]) == 14
    apart = [abs(a - b) for a in moments["kill_watch"] for b in moments["kill_supervisord"]]
    assert min(apart) >= 20
