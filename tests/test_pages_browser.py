"""Every kind of page in a real browser, from a phone's width up; needs what tests/test_dashboard_browser.py needs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from comptroller.cli import main
from docs_world import made
from test_dashboard_browser import MODULES, ROOT
from test_report_page import CHROMIUM

PHONE_PX, LEAST_PX = 390, 9.5
"""Width of a usual phone, and the height of the smallest letters of a chart there: those of a footnote."""

PAGES = {
    "plan": "show plan plan.json --html {page}",
    "simulation": "simulate plan.json --trace trace.csv --html {page}",
    "books": "books report books.sqlite --html {page}",
    "replay": "replay sample_and_vote --evidence own --over tokens --html {page}",
    "laws": "fit laws answers.csv --html {page}",
    "calibration": "fit calibration result.json --out mine --html {page}",
    "formats": "show formats mxfp4 nvfp4 --on model.safetensors --html {page}",
}
"""Page -> the command that writes it."""


@pytest.mark.slow
@pytest.mark.browser
def test_every_page_fits_a_phone_is_legible_and_has_no_serious_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    if CHROMIUM is None or shutil.which("node") is None or not (MODULES / "playwright-core").is_dir():
        pytest.skip("no Chromium, node or playwright-core: see tests/test_dashboard_browser.py")
    monkeypatch.chdir(made(tmp_path / "made"))
    files = [tmp_path / f"{name}.html" for name in PAGES]
    for file, command in zip(files, PAGES.values(), strict=True):
        with pytest.raises(SystemExit) as ended:
            main(command.format(page=file).split())
        assert not ended.value.code, command
    script = ["node", str(ROOT / "tests" / "pages_browser.cjs"), CHROMIUM, str(MODULES), *map(str, files)]
    run = subprocess.run(script, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr
    seen = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(seen) == 3 * len(PAGES)
    for one in seen:
        assert (one["errors"], one["overflow"], one["faults"]) == ([], 0, []), one
        assert one["width"] < PHONE_PX or one["letters_px"] >= LEAST_PX, one
