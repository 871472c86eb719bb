"""The model's tables: a column for each size, and who is exhausted in words."""

from dataclasses import fields, replace

from bench import forecast, model
from bench.model import Site
from tests.bench.test_model import KNOWN


def test_each_thing_at_each_size_and_how_far_it_lasts() -> None:
    found = {row[0]: row[1:] for row in forecast.exhaustible(KNOWN).rows}
    assert len(found) == len(model.RECKONED)
    connections = ["200", "300 (150 %)", "3,000 (1,500 %)", "30,000 (15,000 %)", "6"]
    assert found["database: connections"] == connections
    assert found["a host: cores of instances"][-1] == "any"


def test_the_notes_name_all_that_is_exhausted_and_what_comes_next() -> None:
    ten, hundred, thousand = forecast.exhaustible(KNOWN).notes
    assert ten.startswith("10 hosts: exhausted: database: connections (1.5 times); next: ")
    assert "cores" not in hundred.partition("; next")[0]
    named = thousand.partition("; next")[0]
    beyond = [one.name for one in model.uses(KNOWN, Site(1000)) if one.share > 1]
    assert len(beyond) > 3
    assert all(name in named for name in beyond)


def test_whole_things_are_shown_whole() -> None:
    found = {row[0]: row[1:] for row in forecast.figures(KNOWN).rows}
    assert found["instances"] == [60, 600, 6000]
    assert found["proxies, if only nginx's cores counted"] == [1, 1, 17]


def test_a_reader_can_redo_it_with_the_constants_that_are_shown() -> None:
    known = replace(KNOWN, pick_us=0.045312)
    found = {row[0]: row[1] for row in forecast.tables(known)[0].rows}
    assert found["pick_us"] == "0.0453"
    assert found["send_octets"] == "200,000"
    assert list(found) == [one.name for one in fields(KNOWN)]
