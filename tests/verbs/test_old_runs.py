"""A run folder of an older version is not judged by the words of today."""

import json
from pathlib import Path

import pytest

from bulkhead.cli import main
from bulkhead.rundir import FORMAT


@pytest.mark.parametrize("facts", [{}, {"format": 1}, {"format": FORMAT + 1}])
def test_it_is_refused_in_one_line(
    facts: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drill.json").write_text("{}")
    (tmp_path / "run.json").write_text(json.dumps(facts))
    for words in (["judge"], ["report"], ["compare"]):
        assert main([*words, str(tmp_path)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert f"was written in format {facts.get('format', 1)}, and this" in printed.err
        assert len(printed.err.splitlines()) == 1
