"""report.html in a real browser, opened from the disk."""

import re
from pathlib import Path

import pytest

from bulkhead.rundir import RunDir
from tests.report.chromium import Seen, browse
from tests.report.page import Page
from tests.report.test_html import embedded

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def seen(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return browse(report, tmp_path_factory.mktemp("profile"))


def acted(report: Path, tmp_path: Path, script: str, fragment: str = "") -> Page:
    """The page after a hand has been at it. Its policy would refuse the hand, so it goes."""
    text, replaced = re.subn(
        '<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text()
    )
    assert replaced == 1
    hand = """
        const timeline = document.querySelector(".timeline");
        const box = document.querySelector(".overlay").getBoundingClientRect();
        const mouse = (kind, share) => timeline.dispatchEvent(new PointerEvent(kind, {
            bubbles: true, button: 0, pointerType: "mouse", clientX: box.left + share * box.width,
            clientY: box.top + 100 }));
        const key = (name) => timeline.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
    """
    changed = tmp_path / "page.html"
    changed.write_text(text.replace("</body>", f"<script>{hand}{script}</script></body>"))
    seen = browse(changed, tmp_path / "profile", fragment)
    assert seen.console == []
    return Page(seen.dom)


def values(page: Page) -> dict[str, str]:
    """What the page shows for each of its readouts."""
    return {name: said for name, said in page.readouts if name}


def test_it_runs_without_an_error(seen: Seen) -> None:
    assert seen.console == []
    assert re.search(r"<html[^>]* data-ready", seen.dom)
    assert not re.search(r"<html[^>]* data-error", seen.dom)


def test_an_error_would_be_seen(report: Path, tmp_path: Path) -> None:
    """The test above is worth something only if this one can fail."""
    broken = tmp_path / "broken.html"
    text = report.read_text().replace('"counts":', '"countz":')
    broken.write_text(text.replace("window.onerror", "undefined.x; window.onerror"))
    seen = browse(broken, tmp_path / "profile")
    assert any("Refused" in line or "violates" in line for line in seen.console), seen.console
    assert not re.search(r"<html[^>]* data-ready", seen.dom)


def test_no_request_brought_its_own_script_along(seen: Seen) -> None:
    assert not re.search(r"<html[^>]* data-owned", seen.dom)


def test_charts_lanes_and_tables_are_there(seen: Seen) -> None:
    page = Page(seen.dom)
    assert len(page.having("div", "chart")) == 3
    assert len(page.having("div", "lane")) == 6
    assert len(page.having("svg", "stretch")) == 9
    for name in ("answered", "offered", "stems", "heat-1", "heat-6", "dots", "begun", "rare"):
        paths = page.having("path", name)
        assert paths, name
        assert all(path["d"] for path in paths), name
    assert len(page.tables) == 5


def test_pointing_shows_the_values_of_that_moment_everywhere(report: Path, tmp_path: Path) -> None:
    page = acted(report, tmp_path, 'mouse("pointermove", 37.05 / 60);')
    data = embedded(report)
    shown = values(page)
    assert shown["moment"] == "37.0 s hang api-2"
    assert shown["offered"] == f"{data['counts']['offered'][370] * 10:,}/s"
    assert shown["answered"] == f"{data['counts']['answered'][370] * 10:,}/s"
    assert shown["failed"] == str(data["counts"]["failed"][370])
    assert shown["p50"] == f"{data['latency']['p50'][370]:.1f} ms"
    lanes = [said for name, said in page.readouts if name == ""]
    assert len(lanes) == 6
    assert lanes[1].startswith("stopped, hang 14, ")
    assert lanes[0] == f"up, {data['lanes'][0]['begun'][370]} begun"


def test_leaving_shows_the_whole_run_again(report: Path, tmp_path: Path) -> None:
    page = acted(report, tmp_path, 'mouse("pointermove", 0.5); mouse("pointerleave", 0.5);')
    data = embedded(report)
    assert values(page)["moment"] == "whole run"
    assert values(page)["offered"] == f"{sum(data['counts']['offered']):,}"


def test_the_keyboard_moves_through_the_run(report: Path, tmp_path: Path) -> None:
    page = acted(report, tmp_path, 'key("ArrowRight"); key("ArrowRight"); key("ArrowRight");')
    assert values(page)["moment"].startswith("0.2 s ")
    assert values(page)["offered"] == f"{embedded(report)['counts']['offered'][2] * 10:,}/s"


def test_dragging_zooms_every_chart_to_the_same_seconds(report: Path, tmp_path: Path) -> None:
    drag = 'mouse("pointerdown", 0.25); mouse("pointermove", 0.5); mouse("pointerup", 0.5);'
    page = acted(report, tmp_path, drag + ' mouse("pointerleave", 0.5);')
    boxes = {tuple(given["viewbox"].split()[::2]) for given in page.having("svg", "stretch")}
    ((left, width),) = boxes
    assert (round(float(left)), round(float(width))) == (150, 150)
    assert values(page)["moment"] == "15.0 to 30.0 s"


def test_a_link_to_a_request_opens_it(report: Path, tmp_path: Path) -> None:
    page = acted(report, tmp_path, "", "#r-3")
    opened = [given["id"] for given in page.having("details", "request") if "open" in given]
    assert opened == ["r-3"]


def test_it_needs_no_script_to_be_read(report: Path, storm: RunDir, tmp_path: Path) -> None:
    """CI servers show reports with scripts forbidden."""
    text = re.sub(r"<script>.*?</script>", "", report.read_text(), flags=re.DOTALL)
    silent = tmp_path / "silent.html"
    silent.write_text(text)
    seen = browse(silent, tmp_path / "profile")
    page = Page(seen.dom)
    assert seen.console == []
    assert values(page)["offered"] == f"{sum(embedded(report)['counts']['offered']):,}"
    assert all(path["d"] for path in page.having("path", "begun"))
    assert storm.report_html == report
