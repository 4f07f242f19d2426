"""What is generated is up to date: tables of facts, formulas, figures of the README; its examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from comptroller.own_code import own_module

ROOT = Path(__file__).parents[1]


def script(path: str) -> ModuleType:
    """A script of the repository as a module."""
    module = own_module(str(ROOT / path))
    assert module is not None
    return module


GENERATE = script("docs/generate.py")
PAGES: dict[str, str] = GENERATE.pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_package_says(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == PAGES[name], f"docs/{name} is behind the package: make docs"


def test_pages_are_named_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(PAGES) < set(GENERATE.page_names([])) and GENERATE.page_names(["models.md"]) == ["models.md"]
    for words, code in ((["--help"], 0), (["model.md"], 2)):
        with pytest.raises(SystemExit) as ended:
            GENERATE.page_names(words)
        assert ended.value.code == code
    told = capsys.readouterr()
    assert "licences.md" in told.out and "no generated page: model.md" in told.err


def words_of(picture: str) -> list[str]:
    """The words and figures of an SVG; its places follow from the fonts of the machine."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", picture)


def test_the_pictures_of_the_gallery_are_of_these_results() -> None:
    pytest.importorskip("matplotlib")
    for name, drawn in GENERATE.pictures().items():
        kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert words_of(drawn) and words_of(kept) == words_of(drawn), f"docs/{name} is behind: make docs"


README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as the site makes them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or path.suffix != ".md" or anchor in anchors(path), f"{target}#{anchor}"


SHOWN_BY_TESTS = {"fit", "measure"}
"""Functions whose example would need measured runs or the weights of a model."""


def test_the_function_of_every_command_says_its_errors_and_has_an_example() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `[\w ]+` \| `comptroller\.([\w.]+)`", text, re.MULTILINE)
    assert len(named) == 11
    for name in named:
        module, _, function = name.rpartition(".")
        told = inspect.getdoc(getattr(importlib.import_module(f"comptroller.{module}".rstrip(".")), function)) or ""
        assert function in SHOWN_BY_TESTS or ">>> " in told, name
        assert "Raises:" in told or function == "workload_text", name


def test_every_page_stands_in_the_site_once() -> None:
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(ROOT / "docs")) for path in DOCS)
    assert set(PAGES) <= set(listed)


def test_the_readme_is_one_screen() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 50


def test_figures_of_readme_and_docs_are_those_of_the_results() -> None:
    module = script("benchmarks/readme.py")
    for page in module.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == module.filled(text), f"{page} is behind the results: make docs"
    assert "$20.37" in module.PICTURE.read_text(encoding="utf-8"), "the picture is that of the golden plan"


def test_terms_are_linked_where_prose_uses_them_first() -> None:
    hooks = script("docs/site_hooks.py")
    assert doctest.testmod(hooks).failed == 0
    assert set(hooks.TERMS.values()) <= anchors(ROOT / "docs" / "glossary.md")
    files = hooks.repository_files(DOCS)
    assert files["repository/examples/chat.toml"] == (ROOT / "examples" / "chat.toml").read_bytes()


def test_equations_are_drawn_and_lose_nothing() -> None:
    formulas = script("docs/formulas.py")
    assert doctest.testmod(formulas).failed == 0
    text = PAGES["methodology.md"]
    blocks = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    stated = [equation for block in blocks for equation in formulas.equations(block)]
    assert len(stated) >= 40
    for equation in stated:
        told = "".join(ElementTree.fromstring(formulas.drawn(equation)).itertext())
        for number in re.findall(r"\d+(?:\.\d+)?", equation):
            assert number in told, equation
        for word in re.findall(r"[a-z]{4,}", re.sub("|".join(formulas.GREEK), "", equation)):
            assert word in told or word == "sqrt", equation
    assert formulas.with_equations(text).count("<math") == len(stated)


@pytest.mark.parametrize(
    ("plain", "drawn"),
    [
        ("t = 2 a / b c", "<mo>/</mo>"),  # over b, or over b c? The text does not say
        ("t = 2 a / (b c)", "<mfrac><mrow><mn>2</mn>"),
        ("t = a / b / c", "<mfrac><mrow><mfrac><mi>a</mi><mi>b</mi></mfrac></mrow><mi>c</mi></mfrac>"),
        ("W = c_a^2", "<msubsup><mi>c</mi><mi>a</mi><mn>2</mn></msubsup>"),
        ("t = max(a, x / 2)", "<mfrac><mi>x</mi><mn>2</mn></mfrac>"),
        ("F = 3 x 2 y", "<mn>3</mn><mo>×</mo><mn>2</mn>"),
        ("B_q = z sqrt(B)", "<msqrt><mrow><mi>B</mi></mrow></msqrt>"),
    ],
)
def test_an_equation_means_what_its_text_means(plain: str, drawn: str) -> None:
    assert drawn in script("docs/formulas.py").mathml(plain)


EXAMPLES_OF = [page for page in DOCS if ">>>" in page.read_text(encoding="utf-8")]
PLANNED = {"python.md"}
"""Pages whose examples plan a whole workload: half a minute each."""


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page.name in PLANNED else page for page in EXAMPLES_OF],
    ids=lambda page: page.name,
)
def test_the_examples_of_the_docs_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "written by docs/generate.py" in page.read_text(encoding="utf-8"):
        return  # docstrings, which the doctests of the package run
    monkeypatch.chdir(ROOT)
    outcome = doctest.testfile(str(page), module_relative=False)
    assert outcome.attempted >= 1 and outcome.failed == 0


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_every_block_of_toml_is_toml(page: Path) -> None:
    for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        tomllib.loads(block)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    assert "Time to the first token" in (tmp_path / "glossary" / "index.html").read_text(encoding="utf-8")
