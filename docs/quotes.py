"""Output of commands that pages quote, held to the calibration that it was made with.

    python docs/quotes.py               which quotes are of another calibration, or do not stand in what was printed
    python docs/quotes.py NAME ...      run their commands again and keep what they print (traces: COMPTROLLER_DATA)

What a page shows of a plan moves with the fit, and the commands take minutes; so `docs/quotes/NAME.txt` keeps what one
printed, and `docs/quotes.toml` says of which calibration. A test holds every quoted line to the text and every text to
the calibration that ships: a fit that moves figures is not done before the pages are.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
LIST = HERE / "quotes.toml"
CALIBRATION = ROOT / "src" / "comptroller" / "facts" / "calibration"
SERVING = ("kernels.toml", "power.toml", "residual.csv", "serving.toml")
"""Files of the calibration that price a plan of serving."""

WIDTH = "120"
"""Columns of the terminal that tables are printed for."""

FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
MONEY = re.compile(r"\$[0-9]")
ANSWER = re.compile(r"\$ (comptroller (?:plan|simulate) .*)")


@dataclass(frozen=True)
class PageQuote:
    """What a command printed. pages: that quote it.  calibration: digest of what priced it.  figures: that prose
    quotes.  priced_by: files of the calibration."""

    name: str
    command: str
    pages: tuple[str, ...]
    calibration: str
    figures: tuple[str, ...] = ()
    priced_by: tuple[str, ...] = SERVING

    @property
    def path(self) -> Path:
        """Where the output is kept."""
        return HERE / "quotes" / f"{self.name}.txt"

    @property
    def digest(self) -> str:
        """Of the files of the calibration as they ship."""
        found = hashlib.sha256()
        for name in self.priced_by:
            found.update(name.encode() + (CALIBRATION / name).read_bytes())
        return found.hexdigest()[:16]

    def strays(self) -> Iterator[str]:
        """Quoted lines and figures that the output does not have."""
        told = one_line(self.path.read_text(encoding="utf-8"))
        text = "\n".join((HERE / page).read_text(encoding="utf-8") for page in self.pages)
        yield from (figure for figure in self.figures if figure not in told or figure not in one_line(text))
        found = [block for block in blocks(text) if block[0] == f"$ {self.command}"]
        if not found and not self.figures:
            yield f"$ {self.command}"
        yield from (line for block in found for line in block[1:] if line != "..." and one_line(line) not in told)


def one_line(text: str) -> str:
    """A text with all blanks as one, for pages wrap lines and cut columns."""
    return " ".join(text.split())


def blocks(text: str) -> Iterator[list[str]]:
    """Fenced blocks of a page, without empty lines; a line that ends in a backslash goes on in the next."""
    for found in FENCED.finditer(text):
        lines = [line for line in re.sub(r" *\\\n *", " ", found[1]).splitlines() if line.strip()]
        if lines:
            yield lines


def quotes() -> Iterator[PageQuote]:
    """All that are listed."""
    for name, each in tomllib.loads(LIST.read_text(encoding="utf-8")).items():
        more = {key: tuple(each[key]) for key in ("figures", "priced_by") if key in each}
        yield PageQuote(name, each["command"], tuple(each["pages"]), each["calibration"], **more)


def absentees() -> Iterator[str]:
    """Commands whose quoted output has money in it and that the list does not have."""
    listed = {one.command for one in quotes()}
    for page in sorted(HERE.rglob("*.md")):
        for first, *rest in blocks(page.read_text(encoding="utf-8")):
            command = ANSWER.fullmatch(first)
            if command and MONEY.search("".join(rest)) and command[1] not in listed:
                yield f"{page.name}: {command[1]}"


def faults() -> Iterator[str]:
    """Everything that does not hold, with what to do."""
    for one in quotes():
        if one.calibration != one.digest:
            yield f"{one.name}: printed under another calibration: python docs/quotes.py {one.name}"
        yield from (f"{one.name}: not in what was printed: {line}" for line in one.strays())
    yield from (f"not in docs/quotes.toml: {line}" for line in absentees())


def reader_folder(place: Path) -> Path:
    """What the pages speak of (`tests/docs_world.py`), with the public traces in place of short ones."""
    sys.path.insert(0, str(ROOT / "tests"))
    folder: Path = importlib.import_module("docs_world").made(place)
    for trace in (Path(os.environ["COMPTROLLER_DATA"]) / "traces").iterdir():
        (folder / trace.name).unlink(missing_ok=True)
        (folder / trace.name).symlink_to(trace)
    return folder


def renewal(one: PageQuote, folder: Path) -> None:
    """Run a command in a reader's folder and keep what it prints; its entry names the calibration that ships."""
    words = [sys.executable, "-m", "comptroller", *shlex.split(one.command)[1:]]
    terminal = {**os.environ, "COLUMNS": WIDTH}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True, env=terminal)
    one.path.write_text("\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n", encoding="utf-8")
    entry = re.compile(rf'(^\[{re.escape(one.name)}\]\n(?:.+\n)*?calibration = ")\w*', re.MULTILINE)
    LIST.write_text(entry.sub(rf"\g<1>{one.digest}", LIST.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Run what is named again; tell what does not hold."""
    asked = [one for one in quotes() if one.name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as place:
        folder = reader_folder(Path(place) / "made") if asked else Path(place)
        for one in asked:
            renewal(one, folder)
    print("\n".join(faults()))


if __name__ == "__main__":
    main()
