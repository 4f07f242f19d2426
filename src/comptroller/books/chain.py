"""The hash chain that makes the ledger tamper-evident: each row's hash covers the hash of the row before it.

h_n = SHA-256(h_(n-1) | row_n), where row_n is the JSON list of its columns in the order of the schema. A segment
holds the rows of one writer between opening and closing; it begins with the last hash of the segment before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from comptroller.books.schema import entry

COLUMNS = tuple(column.name for column in entry.columns if column.name != "hash")
"""Columns that the hash covers, in order."""
START = bytes(32)
"""The hash before the first row of the first segment."""
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def link(before: bytes, row: Mapping[str, Any]) -> bytes:
    """SHA-256 of a row that follows the hash `before`.

    >>> row = dict.fromkeys(COLUMNS)
    >>> link(bytes(32), row) == link(bytes(32), row | {"pusd": 1})
    False
    """
    return hashlib.sha256(before + _encode([row[name] for name in COLUMNS]).encode()).digest()


def number_of(*words: str) -> int:
    """A 63-bit id derived from words by SHA-256, the same in every process.

    >>> number_of("sample", "") == number_of("sample", ""), number_of("a", "b") == number_of("ab", "")
    (True, False)
    """
    digest = hashlib.sha256(_encode(words).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@lru_cache(maxsize=10_000)
def account_number(words: tuple[str, ...]) -> int:
    """The id of an account by its words in the order of `schema.ACCOUNT`; without a user and tags it is that of books
    that knew neither.

    >>> account_number(("solver", "", "p/m", "", "", "", "", "")) == number_of("solver", "", "p/m", "", "", "")
    True
    """
    return number_of(*(words if any(words[6:]) else words[:6]))
