"""Books of a small shop for the dashboard's tests: models, keys, strategies and tags over days, failures, scores."""

from __future__ import annotations

from pathlib import Path

from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger, CallQuote, ReservationPosting, SettlementPosting
from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import CallReceipt
from comptroller.gateway.plan_drift import digest_of
from comptroller.planning.ground.plan_document import Plan
from comptroller.work.call import Call

DAY_US = 86_400 * 10**6
USD = 10**12
MODELS = ("llama_3_1_70b", "qwen3_8b", "openai/gpt-5")


def fill(where: Path, plan: Plan | None = None, days: int = 5, now_us: int | None = None) -> Path:
    """Twelve requests a day up to today; `plan`: the plan that every other of them belongs to."""
    with CallLedger.open(str(where)) as ledger:
        end_us = now_us or ledger.clock()
        at = [end_us - (days - 1) * DAY_US]
        ledger.clock = lambda: at[0]
        ledger.set_budget(SpendBudget("all", "", "day", 2 * USD))
        ledger.set_budget(SpendBudget("key", "shop", "total", 3 * USD // 2))
        for day in range(days):
            at[0] = end_us - (days - 1 - day) * DAY_US
            for number in range(12):
                _book(ledger, day, number, plan)
    return where


def _book(ledger: CallLedger, day: int, number: int, plan: Plan | None) -> None:
    arrival_s = ledger.clock() / 1e6 - 60 + number
    made, strategy = 100 + 10 * number, ("once", "best_of_n(n=4)")[number % 2]
    call = Call(
        call=ledger.new_id(), request=ledger.new_id(), role="solver", strategy=strategy,
        service=MODELS[number % 3], key=("shop", "search")[number % 2], project="web", arrival_s=arrival_s,
        started_s=arrival_s + 0.02, first_s=arrival_s + 0.3 + 0.02 * number, last_s=arrival_s + 0.3 + 0.05 * made,
        input_tokens=1000, output_tokens=made, finish="failed" if number == 11 else "stop",
    )  # fmt: skip
    pusd = (number + 1) * (day + 1) * USD // 400
    energy = CallEnergy(1.0, 100.0, 80.0, 250.0, 0.02, 1e12, "predicted")
    of_plan = digest_of(plan) if plan and number % 2 else ""
    quote = CallQuote(pusd, pusd, plan=of_plan, tags=f"team={('red', 'blue')[number % 2]}")
    posted = ledger.apply([ReservationPosting(call, quote), SettlementPosting(call, CallReceipt(pusd, energy=energy))])
    assert posted == [pusd, pusd], "a budget refused it"
    if number < 6:
        ledger.score(call.request, float(number % 2))
