"""What makes the ledger tamper-evident: every row carries the hash of the row before it in its segment.

h_n = SHA-256(h_(n-1) | row_n), where row_n is the JSON list of its columns in the order of the schema. A segment is
what one writer wrote between opening and closing; it begins with the hash that the segment before it had reached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from comptroller.books.schema import entry

COLUMNS = tuple(column.name for column in entry.columns if column.name != "hash")
START = bytes(32)
"""The hash before the first row of the first segment."""
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def link(before: bytes, row: Mapping[str, Any]) -> bytes:
    """The hash of a row that follows another.

    >>> row = dict.fromkeys(COLUMNS)
    >>> link(bytes(32), row) == link(bytes(32), row | {"pusd": 1})
    False
    """
    return hashlib.sha256(before + _encode([row[name] for name in COLUMNS]).encode()).digest()


def number_of(*words: str) -> int:
    """A 63-bit number that stands for some words: the same in every process.

    >>> number_of("sample", "") == number_of("sample", ""), number_of("a", "b") == number_of("ab", "")
    (True, False)
    """
    digest = hashlib.sha256(_encode(words).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
