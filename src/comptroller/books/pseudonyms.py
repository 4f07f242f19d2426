"""Names of an export or an archive that tell calls apart, and nobody who made them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from comptroller.books.chain import account_number, link
from comptroller.books.schema import ACCOUNT

LETTERS = 10
"""Hexadecimal digits of a pseudonym: 40 bits, at which a million names have one in two to share one. At half of them a
thousand have."""


class PseudonymBook:
    """One name, one pseudonym; another book gives others. The key of the hash is forgotten with the book, so that no
    list of likely names can be held against it (pseudonyms by a keyed hash: ENISA 2019, Pseudonymisation techniques).

    >>> book = PseudonymBook()
    >>> book.of("key", "shop") == book.of("key", "shop"), book.of("key", "shop") == book.of("user", "shop")
    (True, False)
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def of(self, kind: str, name: str) -> str:
        """The pseudonym of a name of a kind; none of none."""
        if not name:
            return ""
        digest = hmac.new(self._secret, f"{kind}\0{name}".encode(), "sha256").hexdigest()
        return f"{kind}-{digest[:LETTERS]}"

    def named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with pseudonyms for its key, project, user and tags, and without texts, where it has them."""
        made = dict(row)
        for column, kind in (("key", "key"), ("project", "project"), ("end_user", "user")):
            if column in made:
                made[column] = self.of(kind, made[column])
        if made.get("tags"):
            pairs = (tag.partition("=") for tag in made["tags"].split(";"))
            made["tags"] = ";".join(f"{name}={self.of(name, value)}" for name, _, value in pairs)
        return made | {name: "" for name in ("question", "note") if name in made}

    def account(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """An account under pseudonyms, with the id that follows from them."""
        made = self.named(row)
        return made | {"id": account_number(tuple(made[name] for name in ACCOUNT))}

    def relinked(
        self, rows: Sequence[Mapping[str, Any]], accounts: Mapping[int, Mapping[str, Any]], head: bytes
    ) -> list[dict[str, Any]]:
        """Rows in order under pseudonyms, chained anew from a hash. accounts: id -> the account in its place."""
        made = []
        for row in rows:
            own = self.named(row) | {"account": accounts[row["account"]]["id"], "session": -1}
            own["hash"] = head = link(head, own)
            made.append(own)
        return made
