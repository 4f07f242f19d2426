"""Alerts: a webhook is called once per budget, period and threshold (50, 80 and 100 % of the limit)."""

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
"""Thresholds in percent of the limit: half spent, time to act, used up. A finer list sends more alerts per period."""
PATIENCE_S = 10.0
"""Seconds to wait for the webhook. An alert that times out is due again, so a slow webhook only delays `send`."""


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A budget that passed a threshold in a period; amounts in dollars."""

    budget: str
    period: str
    percent: int
    limit_usd: float
    spent_usd: float
    held_usd: float


def due(ledger: CallLedger) -> list[tuple[int, BudgetAlert]]:
    """Alerts not sent yet, each with the id of its budget; of several thresholds passed only the highest."""
    table = schema.alert
    with schema.refusals("alerts"), ledger.engine.connect() as connection:
        sent = {
            (row.budget, row.span): row.percent for row in connection.execute(select(table).order_by(table.c.percent))
        }
    alerts = []
    for balance in ledger.balances():
        limit, used = balance.budget.limit_pusd, balance.spent_pusd
        passed = max((percent for percent in PERCENTS if used * 100 >= limit * percent and used), default=0)
        if passed > sent.get((balance.budget.id, balance.span), 0):
            usd = [amount / 1e12 for amount in (limit, used, balance.held_pusd)]
            alerts.append((balance.budget.id, BudgetAlert(str(balance.budget), balance.span, passed, *usd)))
    return alerts


def send(ledger: CallLedger, webhook: str) -> list[BudgetAlert]:
    """Posts due alerts as JSON and returns them; an alert that could not be delivered is due again.

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
    """Marks an alert as sent; False where another process did so first."""
    try:
        with schema.writing(ledger.engine) as connection:
            connection.execute(schema.alert.insert().values(**mark, at_us=ledger.clock()))
    except IntegrityError:
        return False
    return True


def _unclaim(ledger: CallLedger, mark: dict[str, object]) -> None:
    """Removes the mark of an alert that was not delivered."""
    same = [schema.alert.c[name] == value for name, value in mark.items()]
    with schema.refusals("alerts"), schema.writing(ledger.engine) as connection:
        connection.execute(delete(schema.alert).where(*same))
