"""The page and the picture of a plan; the page also in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.reasons.against import FleetComparison
from comptroller.report.drawing import svg
from comptroller.report.plan_page import charts, latency_charts, page, picture

GOLDEN = Path(__file__).parent / "golden" / "two_services.json"
CHAT = load_plan(GOLDEN)
VOID = {"meta", "link", "input", "br", "line", "path", "circle", "rect"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def having(self, name: str, value: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if value in (a.get(name) or "").split()]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(page(CHAT))


def test_the_page_nests_and_needs_no_network(reader: Reader) -> None:
    assert reader.open == []
    for _, attributes in reader.tags:
        assert "src" not in attributes and (attributes.get("href") or "#").startswith("#")
    assert "url(" not in page(CHAT) and "@import" not in page(CHAT)


def test_the_page_holds_the_whole_answer(reader: Reader) -> None:
    text = " ".join(reader.words)
    for service in CHAT.services:
        assert service.launch in text and service.deployment.site in text
    for price in CHAT.shadow_prices:
        assert price.sentence in text
    for rival in CHAT.runners_up:
        assert rival.reason in text
    assert all(entry.status in text for entry in CHAT.latency)


def test_every_point_can_be_focused_and_read_and_one_per_chart_is_chosen(reader: Reader) -> None:
    shown = charts(CHAT)
    points = reader.having("class", "point")
    assert len(points) == sum(len(chart.readings) for chart in shown) > 4
    assert all(point["tabindex"] == "0" and ". " in (point["aria-label"] or "") for point in points)
    assert all(sum(mark.chosen for mark in chart.marks) == 1 for chart in latency_charts(CHAT))


def test_tables_have_column_headings(reader: Reader) -> None:
    heads = [attributes for tag, attributes in reader.tags if tag == "th"]
    assert heads and all(attributes.get("scope") == "col" for attributes in heads)
    assert dict(reader.tags)["html"] == {"lang": "en"}


def test_names_are_escaped() -> None:
    evil = CHAT.model_copy(update={"name": "<script>alert(1)</script>"})
    assert "<script>alert" not in page(evil) and "&lt;script&gt;alert" in page(evil)


def test_a_comparison_is_a_section_of_its_own() -> None:
    beside = FleetComparison(55.04, 0.88, ("remove a: 2 -> 0 replicas",), 47.87)
    assert "remove a: 2 -&gt; 0 replicas" in page(CHAT, beside) and "$55.04/h" in page(CHAT, beside)


def test_a_plan_without_objectives_has_no_frontier() -> None:
    bare = CHAT.model_copy(update={"latency": (), "frontier": (), "verification": None})
    assert "Cost against latency" not in page(bare) and Reader(page(bare)).open == []
    with pytest.raises(InputError, match="nothing to draw"):
        picture(bare.model_copy(update={"services": ()}))


@pytest.mark.parametrize("most", [0.013, 0.9, 1.0, 7.17, 23.9, 99.0, 1234.0])
def test_the_cost_axis_starts_at_zero_holds_the_cost_and_names_its_unit(most: float) -> None:
    pytest.importorskip("matplotlib")
    count = len(CHAT.frontier)
    points = (p.model_copy(update={"usd_per_h": most * (i + 1) / count}) for i, p in enumerate(CHAT.frontier))
    first, *others = latency_charts(CHAT.model_copy(update={"frontier": tuple(points)}))
    assert first.y.low == 0 and most <= (first.y.high or 0.0) <= most * 1.6
    assert all(chart.y.high == first.y.high for chart in others)
    words = [text for text in Reader(svg(first)).words if text.startswith("$")]
    assert "$ per hour" in words and "$0" in words and 3 <= len(words) <= 8


def test_the_picture_is_a_png_and_the_same_every_time() -> None:
    pytest.importorskip("matplotlib")
    first = picture(CHAT).png()
    width, height = (int.from_bytes(first[at : at + 4], "big") for at in (16, 20))
    assert first.startswith(b"\x89PNG") and width > height > 400
    assert picture(CHAT).png() == first


def test_without_matplotlib_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from pathlib import Path\nfrom comptroller.cli import main\n"
        "from comptroller.errors import InputError\nfrom comptroller.report.plan_page import page, picture\n"
        f"from comptroller.planning.ground.plan_document import load_plan\nplan = load_plan(Path({str(GOLDEN)!r}))\n"
        "try:\n    picture(plan).png()\nexcept InputError as error:\n    print(error)\n"
        "print(page(plan))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error, html = run.stdout.split("\n", 1)
    assert "pip install 'comptroller[plot]'" in error
    reader = Reader(html)
    text = " ".join(reader.words)
    assert not reader.open and "<svg" not in html and "pip install 'comptroller[plot]'" in text
    for chart in latency_charts(CHAT):
        assert all(mark.name in text and mark.reading in text for mark in chart.marks)


def test_a_chart_names_its_axes_and_takes_the_colours_of_the_page() -> None:
    pytest.importorskip("matplotlib")
    for chart in latency_charts(CHAT):
        drawn = svg(chart)
        assert chart.x.label in drawn and chart.y.label in drawn and "var(--accent)" in drawn
        assert not re.search(": #[0-9a-f]{6}", drawn)


def in_browser(html: str, folder: Path, *options: str) -> str:
    """The document after its scripts ran; fails on any script error."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    file = folder / "page.html"
    watch = "<script>window.onerror = (what) => { document.title = 'script error: ' + what; };</script>"
    file.write_text(html.replace("<head>", f"<head>{watch}"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"]
    profile = f"--user-data-dir={folder / 'profile'}"
    run = subprocess.run(
        [*command, profile, *options, "--dump-dom", file.as_uri()],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert run.returncode == 0, run.stderr[-500:]
    assert "<title>script error" not in run.stdout
    return run.stdout


def with_probe(script: str, plan: Plan = CHAT) -> str:
    """The page with a script at its end that writes what it saw to a `probe` attribute of the root."""
    probe = f"<script>document.documentElement.setAttribute('probe', (() => {{ {script} }})());</script>"
    return page(plan).replace("</body>", f"{probe}</body>")


def probed(dom: str) -> str:
    found = re.search(r'probe="([^"]*)"', dom)
    assert found
    return found.group(1)


@pytest.mark.browser
def test_pointing_at_a_mark_and_focusing_it_show_its_reading(tmp_path: Path) -> None:
    script = """
      const [first, second] = document.querySelectorAll('.point');
      const seen = [tip.hidden];
      first.dispatchEvent(new PointerEvent('pointerenter'));
      seen.push(!tip.hidden && tip.textContent === first.dataset.head + first.dataset.words);
      first.dispatchEvent(new PointerEvent('pointerleave'));
      seen.push(tip.hidden);
      // a headless window may lack the focus without which a page gets no focus events
      const told = () => document.hasFocus() || document.activeElement.dispatchEvent(new FocusEvent('focus'));
      first.focus();
      told();
      seen.push(!tip.hidden && tip.textContent.startsWith(first.dataset.head));
      first.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
      told();
      seen.push(document.activeElement === second && tip.textContent.startsWith(second.dataset.head));
      second.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
      seen.push(tip.hidden);
      return seen.join();
    """
    assert probed(in_browser(with_probe(script), tmp_path)) == "true,true,true,true,true,true"


@pytest.mark.browser
@pytest.mark.parametrize("width", [500, 1240])
def test_nothing_is_wider_than_the_window(width: int, tmp_path: Path) -> None:
    script = "return [document.documentElement.scrollWidth <= innerWidth, innerWidth].join();"
    dom = in_browser(with_probe(script), tmp_path, f"--window-size={width},900")
    assert probed(dom) == f"true,{width}"


@pytest.mark.browser
def test_light_and_dark_have_contrast(tmp_path: Path) -> None:
    script = """
      const part = (colour) => { const [r, g, b] = colour.match(/[0-9.]+/g).map((x) => {
        const c = x / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const pairs = [['h1', 'body'], ['.lede', 'body'], ['th', 'section'], ['td', 'section'], ['.met', 'section']];
      const style = (what) => getComputedStyle(document.querySelector(what));
      const ratios = pairs.filter(([a]) => document.querySelector(a)).map(([a, b]) => {
        const [x, y] = [part(style(a).color), part(style(b).backgroundColor)].sort((m, n) => n - m);
        return (x + 0.05) / (y + 0.05); });
      return [Math.min(...ratios) >= 4.5, part(style('body').backgroundColor) < 0.2].join();
    """
    light = in_browser(with_probe(script), tmp_path)
    dark = in_browser(with_probe(script), tmp_path, "--blink-settings=preferredColorScheme=0")
    assert (probed(light), probed(dark)) == ("true,false", "true,true")


@pytest.mark.browser
def test_it_prints(tmp_path: Path) -> None:
    target = tmp_path / "plan.pdf"
    in_browser(page(CHAT), tmp_path, f"--print-to-pdf={target}")
    assert target.read_bytes().startswith(b"%PDF")
