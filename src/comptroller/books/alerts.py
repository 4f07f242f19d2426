"""Alerts: a webhook is called once for every budget and period that passes 50, 80 and 100 %."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import asdict, dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from comptroller.books import schema
from comptroller.books.ledger import CallLedger
from comptroller.errors import InputError

PERCENTS = (50, 80, 100)
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A budget that passed a threshold in a period; money in dollars, as people read it."""

    budget: str
    period: str
    percent: int
    limit_usd: float
    spent_usd: float
    held_usd: float


def due(ledger: CallLedger) -> list[tuple[int, BudgetAlert]]:
    """Alerts that were not sent yet, each with its budget's id; of several thresholds the highest."""
    table = schema.alert
    with schema.refusals("alerts"), ledger.engine.connect() as connection:
        sent = {
            (row.budget, row.span): row.percent for row in connection.execute(select(table).order_by(table.c.percent))
        }
    found = []
    for balance in ledger.balances():
        limit, used = balance.budget.limit_pusd, balance.spent_pusd
        passed = max((percent for percent in PERCENTS if used * 100 >= limit * percent and used), default=0)
        if passed > sent.get((balance.budget.id, balance.span), 0):
            usd = [amount / 1e12 for amount in (limit, used, balance.held_pusd)]
            found.append((balance.budget.id, BudgetAlert(str(balance.budget), balance.span, passed, *usd)))
    return found


def send(ledger: CallLedger, webhook: str) -> list[BudgetAlert]:
    """Post what is due as JSON; what could not be delivered is due again.

    Raises:
        InputError: the address is no URL of http(s), or does not answer with success.
    """
    if not webhook.startswith(("http://", "https://")):
        raise InputError(f"{webhook}: a webhook begins with http:// or https://")
    sent = []
    for budget, alert in due(ledger):
        mark = {"budget": budget, "span": alert.period, "percent": alert.percent}
        if not _claim(ledger, mark):
            continue
        data = json.dumps(asdict(alert)).encode()
        request = urllib.request.Request(webhook, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S):
                sent.append(alert)
        except OSError as error:
            _unclaim(ledger, mark)
            raise InputError(f"{webhook}: the alert was not taken: {error}") from error
    return sent


def _claim(ledger: CallLedger, mark: dict[str, object]) -> bool:
    """Whether this process is the one that sends an alert."""
    try:
        with schema.writing(ledger.engine) as connection:
            connection.execute(schema.alert.insert().values(**mark, at_us=ledger.clock()))
    except IntegrityError:
        return False
    return True


def _unclaim(ledger: CallLedger, mark: dict[str, object]) -> None:
    same = [schema.alert.c[name] == value for name, value in mark.items()]
    with schema.refusals("alerts"), schema.writing(ledger.engine) as connection:
        connection.execute(delete(schema.alert).where(*same))
