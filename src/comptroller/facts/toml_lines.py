"""At which line of a TOML file a key stands, which its parser does not tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_HEADER = re.compile(r"\s*(?P<open>\[\[?)(?P<name>[^\[\]]+)\]")
_KEY = re.compile(r"""\s*(?P<name>(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_LONG_QUOTES = ('"""', "'''")


def line_of(text: str, field: str) -> int | None:
    """The line, from 1, of the key that a dotted field names, or of the innermost table or list around it.

    None where not even its outermost table stands in the text.

    >>> text = '[objectives]\\nttft = { p = 95,\\n max = 1 }\\n[[services]]\\ntp = 1\\n[[services]]\\ntp = 2\\n'
    >>> line_of(text, "objectives.ttft.p"), line_of(text, "services.1.tp"), line_of(text, "rate_per_s")
    (2, 7, None)
    """
    wanted = [part for part in field.split(".") if part]
    best: tuple[int, int] | None = None
    for place, line in _places(text):
        dotted = ".".join(place).split(".")
        depth = min(len(dotted), len(wanted))
        if wanted[:depth] == dotted[:depth] and (best is None or depth > best[0]):
            best = depth, line
    return best[1] if best else None


def _places(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every header and every key at the beginning of a line, with its line."""
    table: tuple[str, ...] = ()
    counts: Counter[tuple[str, ...]] = Counter()
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if header := _HEADER.match(line):
            table = _place_of_table(_parts(header["name"]), counts, header["open"] == "[[")
            yield table, number
        elif key := _KEY.match(line):
            yield (*table, *_parts(key["name"])), number
            inside = next((quote for quote in _LONG_QUOTES if line.count(quote) % 2), "")


def _place_of_table(name: tuple[str, ...], counts: Counter[tuple[str, ...]], is_list: bool) -> tuple[str, ...]:
    """The place of a table: behind the name of each list of tables stands which of its tables it is."""
    place: tuple[str, ...] = ()
    for part in name[:-1]:
        place = (*place, part)
        if place in counts:
            place = (*place, str(counts[place] - 1))
    place = (*place, name[-1])
    if is_list:
        counts[place] += 1
    return (*place, str(counts[place] - 1)) if place in counts else place


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
