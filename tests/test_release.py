"""What a release needs: one version everywhere, data files in the wheel, every licence named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from comptroller.own_code import own_module

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def releasing() -> ModuleType:
    module = own_module(str(ROOT / "deploy" / "versions.py"))
    assert module is not None
    return module


def test_package_citation_and_code_name_one_version(releasing: ModuleType) -> None:
    assert releasing.fault(releasing.versions(), "", "") == ""
    assert "no heading ## 9.9" in releasing.fault({"a": "9.9"}, "9.9", "## 9.8")
    assert "a: 9.8, not 9.9" in releasing.fault({"a": "9.8"}, "9.9", "## 9.9")


def test_every_package_of_an_extra_has_its_licence_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        name: needs
        for name, needs in project["optional-dependencies"].items()
        if name not in {"test", "docs", "notebooks"}
    }
    listed = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    for need in (*project["dependencies"], *(need for needs in extras.values() for need in needs)):
        name = re.split(r"[^\w-]", need, maxsplit=1)[0]
        assert name in listed, f"{name}: docs/generate.py, DEPENDENCIES"


def test_the_workflow_of_a_release_tries_the_wheel_in_an_empty_environment() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    for path in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / path).is_file()
    assert "first_minutes.py --check" in text
