"""API keys of the gateway: created, rotated and revoked. The books store only their SHA-256.

A secret has 256 random bits, so a fast unsalted hash cannot be inverted by search, and a lookup is one indexed query.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select

from comptroller.books import schema
from comptroller.books.clock import now_us
from comptroller.books.ledger import CallLedger
from comptroller.errors import InputError

PREFIX = "ck-"
"""Beginning of every secret, by which scanners of source code can find leaked ones."""
SECRET_BYTES = 32
"""Random bytes of a secret: 256 bits, as many as its hash. More would not make a collision or a guess harder."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key. name: under which its calls and budgets are booked.  created_us, expires_us: microseconds since 1970.

    models: patterns of the services that it may call (`gpt-*`); none is all.  role: `AUDITOR`, or empty.
    """

    name: str
    project: str
    created_us: int
    expires_us: int | None
    models: tuple[str, ...] = ()
    role: str = ""


AUDITOR = "auditor"
"""Role of a key that reads metrics, models and the plan, and spends nothing."""
ROLES = ("", AUDITOR)


class ApiKeyStore:
    """The keys of a ledger."""

    def __init__(self, ledger: CallLedger) -> None:
        self._ledger = ledger

    def create(self, name: str, project: str = "", models: Sequence[str] = (), role: str = "") -> str:
        """Creates a key; returns its secret, which cannot be read again. models, role: as in `ApiKey`.

        Raises:
            InputError: the name is empty or taken by a valid key, a pattern has a space, or no role is so called.
        """
        if role not in ROLES:
            raise InputError(f"role {role!r}: leave it out, or give {AUDITOR}")
        if any(not pattern or pattern.split() != [pattern] for pattern in models):
            raise InputError("models: patterns of services, without spaces, such as gpt-*")
        if not name:
            raise InputError("a key needs a name")
        if any(key.name == name for key in self.all()):
            raise InputError(f"key {name!r} exists: rotate or revoke it, or choose another name")
        return self._insert(ApiKey(name, project, now_us(), None, tuple(models), role))

    def rotate(self, name: str, grace_s: float = 0.0) -> str:
        """Creates another secret for a key; the old one stays valid for `grace_s` seconds.

        Raises:
            InputError: there is no valid key of this name.
        """
        return self._insert(self._expire(name, now_us() + round(grace_s * 1e6)))

    def revoke(self, name: str) -> None:
        """Ends all secrets of a key immediately.

        Raises:
            InputError: there is no valid key of this name.
        """
        self._expire(name, now_us())

    def find(self, secret: str) -> ApiKey | None:
        """The key of a secret; None where it is unknown, revoked or expired."""
        table = schema.key
        query = select(table).where(table.c.digest == _digest(secret))
        with schema.refusals("keys"), self._ledger.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or (row.expires_us is not None and row.expires_us <= now_us()):
            return None
        return _key(row)

    def ever(self) -> bool:
        """Whether a key was ever made: revoked and expired ones count, or the last revocation would open the door."""
        with schema.refusals("keys"), self._ledger.engine.connect() as connection:
            return connection.execute(select(schema.key.c.digest).limit(1)).first() is not None

    def all(self) -> list[ApiKey]:
        """The valid keys in order of name."""
        table, now = schema.key, now_us()
        query = select(table).where(or_(table.c.expires_us.is_(None), table.c.expires_us > now))
        with schema.refusals("keys"), self._ledger.engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.name, table.c.created_us)).all()
        return [_key(row) for row in rows]

    def _insert(self, key: ApiKey) -> str:
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        values = {"digest": _digest(secret), "name": key.name, "project": key.project, "created_us": now_us()}
        values |= {"models": " ".join(key.models), "role": key.role}
        with schema.refusals("keys"), schema.writing(self._ledger.engine) as connection:
            connection.execute(schema.key.insert().values(values))
        return secret

    def _expire(self, name: str, at_us: int) -> ApiKey:
        """Lets the secrets of a key expire at a time; returns the last of them."""
        keys = [key for key in self.all() if key.name == name]
        if not keys:
            raise InputError(f"there is no valid key {name!r}")
        table = schema.key
        valid = or_(table.c.expires_us.is_(None), table.c.expires_us > at_us)
        with schema.refusals("keys"), schema.writing(self._ledger.engine) as connection:
            connection.execute(table.update().where(table.c.name == name, valid).values(expires_us=at_us))
        return keys[-1]


def _key(row: Any) -> ApiKey:
    return ApiKey(row.name, row.project, row.created_us, row.expires_us, tuple(row.models.split()), row.role)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
