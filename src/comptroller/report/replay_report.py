"""What strategies came to on evidence, as tables, records and a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from typing import Any

from comptroller.errors import InputError
from comptroller.quantities import round_significant
from comptroller.report import drawing
from comptroller.report.chart import ChartMark, ReportChart, frontier_chart
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.page import PageSection, ReportPage
from comptroller.report.router_report import HINT as ROUTING
from comptroller.report.router_report import router_sheet
from comptroller.report.sheet import UNKNOWN, ReportSheet, SheetColumns, left, right
from comptroller.strategies.choosing import DifficultyAllocation
from comptroller.strategies.replay_intervals import ReplayEstimate
from comptroller.strategies.study import AMOUNTS, ReplayedSetting, StrategyStudy

OWN = "Beside those that all models were asked; models that were asked others do not compare by these."
AMOUNT_NAMES: Mapping[str, str] = {
    "usd": "dollars per question",
    "j": "joules per question",
    "tokens": "tokens per question",
    "elapsed_s": "seconds per question",
    "flops": "FLOPs per question",
    "eflops": "eFLOPs per question",
    "strong_calls": "calls of the strong model per question",
    "calls": "calls per question",
}


def headline(study: StrategyStudy) -> str:
    """The cheapest and the best of the frontier in one line."""
    front = study.frontier()
    if not front:
        return f"{len(study.settings)} settings; none is both scored and priced"
    least, most = front[0], front[-1]
    ends = [
        f"{_setting_name(item, study)} solves {item.score.value:.1%} at {_amount(study.over, item)}"
        for item in (least, most)
    ]
    return ends[0] if least is most else f"{ends[0]}; {ends[1]}"


def _setting_name(item: ReplayedSetting, study: StrategyStudy) -> str:
    names = short_names(study)
    return item.strategy if len(names) == 1 else f"{names[item.who]} {item.strategy}"


def setting(study: StrategyStudy) -> str:
    """What was replayed."""
    questions = {len(item.results.question) for item in study.settings}
    count = f"{min(questions):,}" if len(questions) == 1 else f"{min(questions):,} to {max(questions):,}"
    who = next(iter(names)) if len(names := {item.who for item in study.settings}) == 1 else f"{len(names)} models"
    return f"{study.source}: {count} questions, {who}; intervals 95 %, questions resampled in pairs"


def _amount(name: str, item: ReplayedSetting) -> str:
    value = item.amount(name)
    if isnan(value):
        return "–"
    if name == "usd":
        return dollars(value)
    shown = {"j": with_prefix(value, "J"), "elapsed_s": seconds(round(value, 9))}
    return shown.get(name, f"{number(value)} {name.replace('_', ' ')}")


def _share(item: ReplayedSetting, name: str) -> str:
    return f"{item.amount(name):.1%}" if item.amount(name) else ""


def _with_range(estimate: ReplayEstimate, sign: str = "") -> str:
    """Percent with its interval."""
    if isnan(estimate.value):
        return "–"
    low, high = (f"{100 * value:{sign}.1f}" for value in (estimate.low, estimate.high))
    return f"{100 * estimate.value:{sign}.1f} [{low}, {high}]"


SETTINGS: SheetColumns[ReplayedSetting] = (
    left("strategy"),
    right("score", "% solved [95 %]", lambda item: _with_range(item.score)),
    right("gain", "vs once [95 %]", lambda item: _with_range(item.gain, "+")),
    right("questions", None, lambda item: len(item.results.question)),
    right("calls", None, lambda item: number(item.amount("calls"))),
    right("output_tokens", "tokens out", lambda item: number(item.amount("output_tokens"))),
    right("usd", "$/question", lambda item: _amount("usd", item)),
    right("usd_per_solved", "$/solved", lambda item: _dollars_or_dash(item.usd_per_solved.value)),
    right("j", "J/question", lambda item: _amount("j", item)),
    right("elapsed_s", "time", lambda item: _amount("elapsed_s", item)),
    right("flops", "FLOPs", lambda item: _figure(item.amount("flops"), 1e12)),
    right("eflops", "eFLOPs", lambda item: _figure(item.amount("eflops"), 1e12)),
    right("prefill_equivalents", "PTE", lambda item: _figure(item.prefill_equivalents)),
    right("strong_calls", "strong calls", lambda item: _figure(item.amount("strong_calls"))),
    right("truncated", None, lambda item: _share(item, "truncated")),
    right("unanswered", "no answer", lambda item: _share(item, "unanswered")),
)


def settings(study: StrategyStudy) -> ReportSheet:
    """One row per setting, the cheapest first; amounts that nothing records are left out."""
    front = {id(item) for item in study.frontier()}
    names = short_names(study)
    strategy, *amounts = SETTINGS
    columns: SheetColumns[ReplayedSetting] = (
        strategy,
        left("models", "model", lambda item: names[item.who]),
        *amounts,
        left("frontier", "", lambda x: "frontier" if id(x) in front else "baseline" if x.baseline else ""),
    )
    ordered = sorted(study.settings, key=lambda item: (_or_last(item.amount(study.over)), item.strategy))
    sheet = ReportSheet.of("Strategies", columns, ordered)
    alike = [key for key in ("questions", "models") if len({row[key] for row in sheet.records()}) == 1]
    return sheet.without_empty().without(*alike)


def by_model(study: StrategyStudy) -> tuple[ReportSheet, ...]:
    """The settings of each model on all questions recorded for it, where more are than all have in common."""
    return tuple(
        replace(
            settings(replace(study, settings=group)),
            title=f"{group[0].solver or group[0].who}: all its {len(group[0].results.question):,} questions",
        )
        for group in study.by_model
    )


def _or_last(value: float) -> float:
    return float("inf") if isnan(value) else value


def short_names(study: StrategyStudy) -> dict[str, str]:
    """Who plays, less the words that all have in common; whole where nothing would be left."""
    whole = dict.fromkeys(item.who for item in study.settings)
    models = dict.fromkeys(model for name in whole for model in name.split(" > "))
    common = set.intersection(*(set(model.split()) for model in models)) if len(models) > 1 else set()
    short = {model: " ".join(word for word in model.split() if word not in common) for model in models}
    if not all(short.values()):
        return dict(zip(whole, whole, strict=True))
    return {name: " > ".join(short[model] for model in name.split(" > ")) for name in whole}


def _dollars_or_dash(value: float) -> str:
    return UNKNOWN if isnan(value) else dollars(value)


def _figure(value: float, unit: float = 1.0) -> str:
    """A number, in millions of millions if the unit is; a dash where it is unknown."""
    return "–" if isnan(value) else number(value / unit) + (" T" if unit > 1 else "")


def spread(study: StrategyStudy) -> ReportSheet:
    """A mean amount spread by predicted difficulty: what it solves, and the one setting that it is held against."""
    columns: SheetColumns[DifficultyAllocation] = (
        left("models", "model"),
        right("mean", f"{study.over.replace('_', ' ')}/question", lambda one: number(one.mean)),
        right("score", "% solved [95 %]", lambda one: _with_range(one.score)),
        right("single", "one setting", lambda one: f"{one.single:.1%}"),
        right("gain", "gain [95 %]", lambda one: _with_range(one.gain, "+")),
        right("shadow_price", "points/unit", lambda one: number(100 * one.shadow_price)),
        right("ceiling", None, lambda one: UNKNOWN if isnan(one.ceiling) else f"{one.ceiling:.1%}"),
        left(
            "shares",
            "spread over",
            lambda x: ", ".join(f"{name} {part:.0%}" for name, part in x.shares.items() if part),
        ),
    )
    return ReportSheet.of("Spread by predicted difficulty, judged on questions that had no say", columns, study.spread)


def _shares_text(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share)


def missing(study: StrategyStudy) -> ReportSheet:
    """What the evidence cannot support, and why: one row for each reason, questions left out."""
    grouped: dict[str, list[str]] = {}
    for name, reason in study.missing:
        grouped.setdefault(re.sub(r"question [^,]+, ", "", reason), []).append(name)
    columns = (left("reason", "why"), left("strategies"))
    rows = tuple((reason, _names_text(list(dict.fromkeys(names)))) for reason, names in grouped.items())
    return ReportSheet("Not supported by this evidence", columns, rows)


def _names_text(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def record(study: StrategyStudy) -> dict[str, Any]:
    """Everything, as JSON has it; unknown is null."""
    front = {id(item) for item in study.frontier()}
    return {
        "source": study.source,
        "over": study.over,
        "settings": [_record(item) | {"frontier": id(item) in front} for item in study.settings],
        "by_model": [[_record(item) for item in group] for group in study.by_model],
        "spread": [_spread_record(each) for each in study.spread],
        "routers": [curve for each in study.routed for curve in router_sheet(each).records()],
        "missing": [{"strategy": name, "reason": reason} for name, reason in study.missing],
        "notes": list(study.notes),
    }


def _record(item: ReplayedSetting) -> dict[str, Any]:
    means = (*AMOUNTS, "input_tokens", "output_tokens", "reasoning_tokens", "bytes")
    shares = ("truncated", "lost", "unanswered", "expired")
    document: dict[str, Any] = {"strategy": item.strategy, "models": dict(item.models), "baseline": item.baseline}
    document |= {"questions": len(item.results.question)}
    for name, estimate in (("score", item.score), ("gain", item.gain), ("usd_per_solved", item.usd_per_solved)):
        document[name] = {end: _finite_or_none(getattr(estimate, end)) for end in ("value", "low", "high")}
    document |= {name: _finite_or_none(item.amount(name)) for name in (*means, *shares)}
    document["prefill_token_equivalents"] = _finite_or_none(item.prefill_equivalents)
    document["j_per_solved"] = _finite_or_none(item.results.per_solved("j"))
    return document | {"elasticity": _finite_or_none(item.elasticity)}


def figures(study: StrategyStudy) -> ReportSheet:
    """One row per setting with raw values, for files that are read by programs; unknown is None."""
    rows = []
    for item in record(study)["settings"]:
        flat = {"strategy": item["strategy"], "models": " > ".join(dict.fromkeys(item["models"].values()))}
        for key, value in item.items():
            if isinstance(value, dict) and key != "models":
                flat |= {key if end == "value" else f"{key}_{end}": value[end] for end in ("value", "low", "high")}
            elif key not in flat:
                flat[key] = value
        rows.append(flat)
    columns = tuple(left(key) for key in rows[0])
    return ReportSheet("Strategies", columns, tuple(tuple(row.values()) for row in rows))


def _spread_record(allocation: DifficultyAllocation) -> dict[str, Any]:
    document: dict[str, Any] = {"models": allocation.models, "shares": dict(allocation.shares)}
    document |= {
        name: _finite_or_none(getattr(allocation, name)) for name in ("mean", "single", "shadow_price", "ceiling")
    }
    for name, estimate in (("score", allocation.score), ("gain", allocation.gain)):
        document[name] = {end: _finite_or_none(getattr(estimate, end)) for end in ("value", "low", "high")}
    return document


def _finite_or_none(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else round_significant(value)


def marks(study: StrategyStudy) -> tuple[ChartMark, ...]:
    """The settings as marks of amount against score."""
    front = {id(item) for item in study.frontier()}
    return tuple(
        ChartMark(
            x=item.amount(study.over),
            y=item.score.value,
            low=item.score.low,
            high=item.score.high,
            name=_setting_name(item, study),
            reading=f"solves {_with_range(item.score)} % at {_amount(study.over, item)}",
            chosen=id(item) in front,
        )
        for item in study.settings
        if item.amount(study.over) >= 0 and not isnan(item.score.value)
    )


def _charts(study: StrategyStudy) -> tuple[ReportChart, ...]:
    shown = marks(study)
    axes = (AMOUNT_NAMES[study.over], "share solved")
    return (frontier_chart("Share of the questions solved, with 95 % interval", shown, axes),) if shown else ()


def picture(study: StrategyStudy) -> drawing.ChartPicture:
    """The frontier.

    Raises:
        InputError: there is nothing to draw.
    """
    charts = _charts(study)
    if not charts:
        raise InputError("a picture needs settings that are both scored and priced; there are none")
    return drawing.ChartPicture(charts, headline(study))


def page(study: StrategyStudy) -> str:
    """A self-contained page: the frontier as a chart, the settings, what is not supported, and the notes."""
    solved = PageSection(
        "Solved against cost",
        "Every setting with its interval; the line joins those that none beats. Point at a mark, or move with Tab and "
        "the arrow keys, to read it.",
        charts=_charts(study),
    )
    tables = (
        ("Strategies", "The cheapest first, per question; one answer beside all.", settings(study)),
        ("Spread by predicted difficulty", "Judged on questions that had no say in it.", spread(study)),
        *((sheet.title, OWN, sheet) for sheet in by_model(study)),
        *((sheet.title, ROUTING, sheet) for sheet in map(router_sheet, study.routed)),
        ("Not supported by this evidence", "Left out, never guessed.", missing(study)),
    )
    return ReportPage(
        title=f"Replay of {study.source}",
        subject=f"replay of {study.source}",
        headline=headline(study),
        lede=setting(study),
        sections=(solved, *(PageSection(title, hint, sheets=(sheet,)) for title, hint, sheet in tables)),
        footer=tuple(study.notes),
    ).html()
