"""What is generated is up to date: tables of facts, formulas, figures of the README; its examples run."""

from __future__ import annotations

import doctest
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def loaded(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[str, str] = loaded("docs/generate.py").pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_package_says(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == PAGES[name], f"docs/{name} is behind the package: make docs"


def test_every_page_is_linked_from_the_readme_and_every_link_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)#]+)\)", text))
    assert {f"docs/{name}" for name in PAGES if "/" not in name} <= links
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    filled: Callable[[str], str] = loaded("benchmarks/readme.py").filled
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == filled(text), "the README is behind the results: make docs"


def test_the_examples_of_the_readme_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    outcome = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert outcome.attempted >= 10 and outcome.failed == 0
