"""Every verb is given arguments that it can make nothing of: one clear line, never a traceback.

The verbs and their arguments are those of the parser, so that none is forgotten.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from bulkhead import cli
from bulkhead.topology.model import HostsSection, ProxySection, ServiceSection, StackSection
from tests.support.runs import MadeRun
from tests.support.stack import ECHO, ROOT, running_stack
from tests.verbs.hostile import HOSTILE, answers, wrong

pytestmark = pytest.mark.live

# What a verb must be given beside the argument in question. RUN stands for a good run folder.
NEEDED = {
    "roll": {"name": "api"}, "scale": {"number": "api=8"}, "upgrade": {"what": "nginx"},
    "drill": {"name": "no-such-drill"}, "judge": {"run": "RUN"}, "report": {"run": "RUN"},
    "sql": {"run": "RUN", "query": "select 1"}, "compare": {"runs": "RUN"},
    "merge": {"folder": ".", "workers": "1"},
}  # fmt: skip
# Only a stack that is up looks at these.
ASKS_THE_STACK = {("roll", "name"), ("scale", "number"), ("logs", "name")}
# Not about the topology's file, so nothing is wrong if that is.
NO_TOPOLOGY = {"drills", "judge", "report", "sql", "compare", "merge"}
CHARACTERS = ("a byte that is no text", "two lines", "an escape sequence", "a line separator")
DEEP_KEYS, DEEP_LIST = f"{'a.' * 5000}b=1", f"stack.name={'[' * 5000}{']' * 5000}"
ENDLESS_NUMBER = f"services.api.port={'9' * 5000}"
# Such a file can be made: it is the user's business.
A_GOOD_FILE = ("a byte that is no text", "two lines", "an escape sequence", "a line separator",
               "a negative number", "no number")  # fmt: skip


def verbs() -> dict[str, argparse.ArgumentParser]:
    (found,) = [
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(found.choices)


def arguments() -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of every verb that takes a value."""
    for verb, parser in verbs().items():
        for action in parser._actions:
            if action.nargs == 0 or (verb, action.dest) in ASKS_THE_STACK:
                continue
            if verb in NO_TOPOLOGY and action.dest in ("topology", "set"):
                continue
            yield verb, action


def words(verb: str, action: argparse.Action, value: str, run: Path) -> list[str]:
    needed = dict(NEEDED.get(verb, {}))
    if action.dest == "hosts" and verb == "drill":
        needed["name"] = "host-kill"
    needed[action.dest] = value
    made = [verb, "--topology", str(ROOT / "stack.toml")]
    positional = []
    for other in verbs()[verb]._actions:
        if other.dest not in needed:
            continue
        given = needed[other.dest].replace("RUN", str(run))
        if other.option_strings:
            made.append(f"{other.option_strings[-1]}={given}")
        else:
            positional.append(given)
    return [*made, "--", *positional]


def is_good(verb: str, argument: str, what: str) -> bool:
    """Whether such a value is right there."""
    if (verb, argument) == ("sql", "query"):
        return what in ("nothing", "a negative number")
    return argument == "junit" and what in A_GOOD_FILE


def test_every_argument_of_every_verb(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run")
    made.phases()
    made.request("a-1")
    run = made.write().path
    cases = [
        (verb, action.dest, what, words(verb, action, value, run))
        for verb, action in arguments()
        for what, value in HOSTILE.items()
        if not is_good(verb, action.dest, what)
    ]
    assert len(cases) > 300
    settings = f"stack.home={tmp_path}/home"
    done = answers([case[-1] for case in cases], tmp_path, settings)
    found = [
        f"{verb} {argument} {what}: {problem}"
        for (verb, argument, what, _), answer in zip(cases, done, strict=True)
        if (problem := wrong(*answer))
    ]
    assert found == []
    assert not (tmp_path / "home").exists(), "nothing was begun"


def test_every_setting_of_the_topology(tmp_path: Path) -> None:
    """Also with a NUL, which no command line can hold, but TOML can."""
    values = [HOSTILE[what] for what in CHARACTERS] + [r'"a\u0000b"']
    cases = [["check", "--set", f"{name}={value}"] for name in texts() for value in values]
    assert len(cases) > 50
    cases += [["check", "--set", one] for one in (DEEP_KEYS, DEEP_LIST, ENDLESS_NUMBER)]
    for verb in ("up", "down", "restart", "status", "logs", "reload", "reopen", "drill"):
        cases += [[verb, "--set", f"stack.home={value}"] for value in [*values, "/", "", "."]]
    cases += [["drill", "kill-one", "--set", f"drill.title={value}"] for value in values]
    cases += [["drill", "kill-one", "--set", f"drill.load.locustfile={value}"] for value in values]
    topology = ["--topology", str(ROOT / "stack.toml")]
    done = answers([[*case, *topology] for case in cases], tmp_path, f"stack.home={tmp_path}/home")
    found = [
        f"{' '.join(case)[:100]!r}: {problem}"
        for case, answer in zip(cases, done, strict=True)
        if (problem := wrong(*answer))
    ]
    assert found == []
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def texts() -> Iterator[str]:
    """The settings that are any text, of whatever pattern."""
    sections: dict[str, type[BaseModel]] = {
        "stack": StackSection, "proxy": ProxySection, "hosts": HostsSection,
        "services.api": ServiceSection,
    }  # fmt: skip
    for section, model in sections.items():
        for name, field in model.model_fields.items():
            if field.annotation in (str, str | None):
                yield f"{section}.{name}"
    yield "services.api.env.NAME"


@pytest.mark.parametrize("what", [*CHARACTERS, "64 KB"])
def test_the_environment(what: str, tmp_path: Path) -> None:
    environment = {"BULKHEAD_TOPOLOGY": HOSTILE[what]}
    for verb in ("up", "check", "status", "down"):
        done = subprocess.run(
            [sys.executable, "-m", "bulkhead.cli", verb],
            cwd=tmp_path, env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        out, said = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
        assert not wrong(done.returncode, out, said)


def test_every_argument_that_a_running_stack_looks_at(tmp_path: Path) -> None:
    places = (["roll", "@"], ["scale", "@"], ["scale", "api=@"], ["scale", "@=1"], ["logs", "@"])
    cases = [
        [verb, "--", word.replace("@", value)]
        for verb, word in places
        for value in HOSTILE.values()
    ]
    with running_stack(tmp_path / "h", ECHO) as stack:
        before = stack.status()
        done = answers(cases, ROOT, " ".join(stack.settings))
        after = stack.status()
    found = [
        f"{' '.join(case)[:100]!r}: {problem}"
        for case, answer in zip(cases, done, strict=True)
        if (problem := wrong(*answer))
    ]
    assert found == []
    assert {name: one["pid"] for name, one in after.items()} == {
        name: one["pid"] for name, one in before.items()
    }
