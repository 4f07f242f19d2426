"""Hooks of the documentation site: files of the repository that pages link to, the glossary at a term's first use.

`mkdocs build --strict` calls them; a test calls them too, without mkdocs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from formulas import with_equations

ROOT = Path(__file__).parents[1]
TERMS = {
    "TTFT": "ttft",
    "TPOT": "tpot",
    "goodput": "goodput",
    "shadow price": "shadow-price",
    "KV cache": "kv-cache",
    "prefill": "prefill",
    "decode": "decode",
    "runner-up": "runner-up",
    "PUE": "pue",
    "E2E": "e2e",
    **{axis: axis for axis in ("tp", "pp", "dp", "ep")},
}
"""Term -> its anchor in the glossary."""

FORMULAS = "methodology.md"
"""The page whose equations are drawn."""

OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)(?:#[^)]*)?\)")
"""A link to a file beside docs."""

CODE = re.compile(r"^(```|~~~).*?^\1\s*$|`[^`\n]*`|!?\[[^\]]*\]\([^)]*\)|^#.*$|^\|.*$|<!--.*?-->|^    .*$", re.M | re.S)
"""What stays as it is written: code, links, headings, tables."""


def with_glossary(text: str, page: str) -> str:
    """A page with each term linked to the glossary where its prose uses it first. page: its path in docs.

    >>> with_glossary("`TTFT` and TTFT, TTFT", "start.md")
    '`TTFT` and [TTFT](glossary.md#ttft), TTFT'
    """
    if page == "glossary.md":
        return text
    home = "../" * page.count("/") + "glossary.md"
    for term, anchor in TERMS.items():
        text = _with_term(text, term, f"[{term}]({home}#{anchor})")
    return text


def _with_term(text: str, term: str, link: str) -> str:
    """The text with the first use of a term in prose replaced by its link."""
    word = re.compile(rf"(?<![\w-]){re.escape(term)}(?![\w-])")
    start = 0
    for kept in [*CODE.finditer(text), None]:
        end = kept.start() if kept else len(text)
        if found := word.search(text, start, end):
            return text[: found.start()] + link + text[found.end() :]
        start = kept.end() if kept else end
    return text


def outside_links(text: str) -> set[str]:
    """Paths of the files of the repository that a page links to."""
    return set(OUTSIDE.findall(text))


def with_outside_links(text: str, page: str) -> str:
    """A page whose links to files of the repository lead to their copies on the site.

    >>> with_outside_links("[a](../examples/chat.toml)", "start.md")
    '[a](repository/examples/chat.toml)'
    """
    home = "../" * page.count("/")
    return OUTSIDE.sub(lambda found: f"]({home}{place_of(found[1])})", text)


def place_of(path: str) -> str:
    """Where a file of the repository stands on the site; Markdown as text, for its own links lead out of the site."""
    folder = (ROOT / path).is_dir()
    return f"repository/{path.rstrip('/')}" + (".txt" if folder or path.endswith(".md") else "")


def repository_files(pages: Iterable[Path]) -> dict[str, bytes]:
    """Copies of what pages link to, by their place on the site; of a folder its list of files."""
    found: dict[str, bytes] = {}
    for page in pages:
        for path in outside_links(page.read_text(encoding="utf-8")):
            source = ROOT / path
            if source.is_dir():
                names = sorted(each.name for each in source.iterdir() if not each.name.startswith((".", "__")))
                found[place_of(path)] = "\n".join(names).encode()
            else:
                found[place_of(path)] = source.read_bytes()
    return found


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of a page."""
    where = page.file.src_uri
    if where == FORMULAS:
        markdown = with_equations(markdown)
    return with_outside_links(with_glossary(markdown, where), where)


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs with the files of the site."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the site's own package, which tests do without

    pages = [Path(each.abs_src_path) for each in files.documentation_pages() if each.abs_src_path]
    for place, content in repository_files(pages).items():
        files.append(File.generated(config, place, content=content))
    return files
