"""The dashboard in a real browser: no error on the console, nothing wider than the window, axe finds nothing serious.

It needs Chromium, node, and two packages: npm install --prefix out/browser playwright-core@1.65.1 axe-core@4.14.1
(`COMPTROLLER_BROWSER` names another folder). Screenshots are kept in out/screenshots.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from comptroller.planning.ground.plan_document import load_plan
from dashboard_books import fill
from test_report_page import CHROMIUM

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "chat.json"
MODULES = Path(os.environ.get("COMPTROLLER_BROWSER", ROOT / "out" / "browser")) / "node_modules"
SCREENSHOTS = ROOT / "out" / "screenshots"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What the browser saw at every width."""
    pytest.importorskip("matplotlib")
    if CHROMIUM is None or shutil.which("node") is None:
        pytest.skip("no chromium or no node on this machine")
    if not (MODULES / "playwright-core").is_dir() or not (MODULES / "axe-core").is_dir():
        pytest.skip("no playwright-core or axe-core: see the first lines of this file")
    folder = tmp_path_factory.mktemp("browser")
    books = fill(folder / "books.sqlite", load_plan(GOLDEN))
    text = (ROOT / "examples" / "chat.toml").read_text().replace("rate_per_s = 20.0", "rate_per_s = 3.0")
    small = 'accelerators = ["h100_sxm"]\nengines = ["vllm"]\nformats = ["fp8_e4m3"]'
    (folder / "small.toml").write_text(re.sub(r"^accelerators = .*$", small, text, flags=re.M))
    files = [str(GOLDEN), str(books), str(folder / "small.toml")]
    command = [sys.executable, "-m", "comptroller", "dashboard", *files, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        told = re.search(r"http://\S+", server.stderr.readline())
        assert told
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        script = [
            "node",
            str(ROOT / "tests" / "dashboard_browser.cjs"),
            told[0],
            CHROMIUM,
            str(MODULES),
            str(SCREENSHOTS),
        ]
        run = subprocess.run(script, capture_output=True, text=True, check=False, timeout=600)
        assert run.returncode == 0, run.stderr
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    return [json.loads(line) for line in run.stdout.splitlines()]


@pytest.mark.browser
def test_it_is_free_of_errors_and_fits_every_window(seen: list[dict[str, object]]) -> None:
    assert [one["width"] for one in seen] == [360, 768, 1920]
    for one in seen:
        assert (one["errors"], one["overflow"], one["faults"]) == ([], 0, []), one["width"]


@pytest.mark.browser
def test_a_fault_is_marked_beside_its_field_and_a_search_comes_to_its_answer(seen: list[dict[str, object]]) -> None:
    asked = seen[-1]["asked"]
    assert isinstance(asked, dict)
    assert asked["fault"] == "'abc' is no number" and asked["invalid"] is None
    assert "proven anew" in asked["found"] and "h100_sxm" in asked["found"]


@pytest.mark.browser
def test_a_point_that_has_the_focus_is_read_out(seen: list[dict[str, object]]) -> None:
    assert all(one["tip"] for one in seen)
