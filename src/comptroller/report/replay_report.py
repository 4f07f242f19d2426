"""What strategies came to on evidence, as tables, records and a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from math import isnan
from typing import Any

from comptroller.quantities import round_significant
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.page import asset, document, section
from comptroller.report.router_report import HINT as ROUTING
from comptroller.report.router_report import router_sheet
from comptroller.report.scatter import ScatterPoint, scatter
from comptroller.report.sheet import Cell, ReportSheet, SheetColumn, right
from comptroller.strategies.choosing import DifficultyAllocation
from comptroller.strategies.results import ReplayEstimate
from comptroller.strategies.study import AMOUNTS, ReplayedSetting, StrategyStudy

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


WHOLE_WIDTH = 150
"""Columns of a terminal from which on every column of the table fits."""


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


def settings(study: StrategyStudy) -> ReportSheet:
    """One row per setting, the cheapest first; amounts that nothing records are left out."""
    columns = (
        SheetColumn("strategy", "strategy"),
        SheetColumn("models", "model"),
        right("score", "% solved [95 %]"),
        right("gain", "vs once [95 %]"),
        right("questions", "questions"),
        right("calls", "calls"),
        right("output_tokens", "tokens out"),
        right("usd", "$/question"),
        right("usd_per_solved", "$/solved"),
        right("j", "J/question"),
        right("elapsed_s", "time"),
        right("flops", "FLOPs"),
        right("eflops", "eFLOPs"),
        right("prefill_equivalents", "PTE"),
        right("strong_calls", "strong calls"),
        right("truncated", "truncated"),
        right("unanswered", "no answer"),
        SheetColumn("frontier", ""),
    )
    front = {id(item) for item in study.frontier()}
    ordered = sorted(study.settings, key=lambda item: (_or_last(item.amount(study.over)), item.strategy))
    names = short_names(study)
    rows = tuple(_row(item, names[item.who], id(item) in front) for item in ordered)
    sheet = ReportSheet("Strategies", columns, rows)
    empty = [c.key for i, c in enumerate(columns) if all(row[i] in ("–", None, "") for row in rows)]
    alike = [key for key in ("questions", "models") if len({sheet_row[key] for sheet_row in sheet.records()}) == 1]
    return sheet.without(*empty, *alike)


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


def _row(item: ReplayedSetting, who: str, front: bool) -> tuple[Cell, ...]:
    per_solved = item.usd_per_solved.value
    return (
        item.strategy,
        who,
        _with_range(item.score),
        _with_range(item.gain, "+"),
        len(item.results.question),
        number(item.amount("calls")),
        number(item.amount("output_tokens")),
        _amount("usd", item),
        "–" if isnan(per_solved) else dollars(per_solved),
        _amount("j", item),
        _amount("elapsed_s", item),
        *(_figure(item.amount(name), 1e12) for name in ("flops", "eflops")),
        _figure(item.prefill_equivalents),
        _figure(item.amount("strong_calls")),
        _share(item, "truncated"),
        _share(item, "unanswered"),
        "frontier" if front else "baseline" if item.baseline else "",
    )


def _figure(value: float, unit: float = 1.0) -> str:
    """A number, in millions of millions if the unit is; a dash where it is unknown."""
    return "–" if isnan(value) else number(value / unit) + (" T" if unit > 1 else "")


def spread(study: StrategyStudy) -> ReportSheet:
    """A mean amount spread by predicted difficulty: what it solves, and the one setting that it is held against."""
    columns = (
        SheetColumn("models", "model"),
        right("mean", f"{study.over.replace('_', ' ')}/question"),
        right("score", "% solved [95 %]"),
        right("single", "one setting"),
        right("gain", "gain [95 %]"),
        right("shadow_price", "points/unit"),
        right("ceiling", "ceiling"),
        SheetColumn("shares", "spread over"),
    )
    rows = tuple(
        (
            each.models,
            number(each.mean),
            _with_range(each.score),
            f"{each.single:.1%}",
            _with_range(each.gain, "+"),
            number(100 * each.shadow_price),
            "–" if isnan(each.ceiling) else f"{each.ceiling:.1%}",
            ", ".join(f"{name} {share:.0%}" for name, share in each.shares.items() if share),
        )
        for each in study.spread
    )
    return ReportSheet("Spread by predicted difficulty, judged on questions that had no say", columns, rows)


def missing(study: StrategyStudy) -> ReportSheet:
    """What the evidence cannot support, and why: one row for each reason, questions left out."""
    grouped: dict[str, list[str]] = {}
    for name, reason in study.missing:
        grouped.setdefault(re.sub(r"question [^,]+, ", "", reason), []).append(name)
    columns = (SheetColumn("reason", "why"), SheetColumn("strategies", "strategies"))
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
        "spread": [_spread_record(each) for each in study.spread],
        "routers": [curve for each in study.routed for curve in router_sheet(each).records()],
        "missing": [{"strategy": name, "reason": reason} for name, reason in study.missing],
        "notes": list(study.notes),
    }


def _record(item: ReplayedSetting) -> dict[str, Any]:
    means = (*AMOUNTS, "input_tokens", "output_tokens", "reasoning_tokens", "bytes")
    shares = ("truncated", "lost", "unanswered", "expired")
    found: dict[str, Any] = {"strategy": item.strategy, "models": dict(item.models), "baseline": item.baseline}
    found |= {"questions": len(item.results.question)}
    for name, estimate in (("score", item.score), ("gain", item.gain), ("usd_per_solved", item.usd_per_solved)):
        found[name] = {end: _finite_or_none(getattr(estimate, end)) for end in ("value", "low", "high")}
    found |= {name: _finite_or_none(item.amount(name)) for name in (*means, *shares)}
    found["prefill_token_equivalents"] = _finite_or_none(item.prefill_equivalents)
    found["j_per_solved"] = _finite_or_none(item.results.per_solved("j"))
    return found | {"elasticity": _finite_or_none(item.elasticity)}


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
    columns = tuple(SheetColumn(key, key) for key in rows[0])
    return ReportSheet("Strategies", columns, tuple(tuple(row.values()) for row in rows))


def _spread_record(each: DifficultyAllocation) -> dict[str, Any]:
    found: dict[str, Any] = {"models": each.models, "shares": dict(each.shares)}
    found |= {name: _finite_or_none(getattr(each, name)) for name in ("mean", "single", "shadow_price", "ceiling")}
    for name, estimate in (("score", each.score), ("gain", each.gain)):
        found[name] = {end: _finite_or_none(getattr(estimate, end)) for end in ("value", "low", "high")}
    return found


def _finite_or_none(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else round_significant(value)


def points(study: StrategyStudy) -> tuple[ScatterPoint, ...]:
    """The settings as points of amount against score."""
    front = {id(item) for item in study.frontier()}
    return tuple(
        ScatterPoint(
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


def page(study: StrategyStudy) -> str:
    """A self-contained page: the frontier as a chart, the settings, what is not supported, and the notes."""
    drawn = points(study)
    chart = ""
    if drawn:
        chart = (
            "<section><h2>Solved against cost</h2>"
            '<p class="hint">Every setting with its interval; the line joins those that none beats. Point at a mark, '
            f"or move with Tab and the arrow keys, to read it.</p>{scatter(drawn, AMOUNT_NAMES[study.over])}</section>"
        )
    notes = "".join(f"<p>{escape(note)}</p>" for note in study.notes)
    body = (
        f'<p class="eyebrow"><b>Comptroller</b> replay of {escape(study.source)}</p>'
        f'<h1>{escape(headline(study))}</h1><p class="lede">{escape(setting(study))}</p>'
        f"{chart}{section('Strategies', settings(study), 'The cheapest first, per question; one answer beside all.')}"
        f"{section('Spread by predicted difficulty', spread(study), 'Judged on questions that had no say in it.')}"
        f"{''.join(section(sheet.title, sheet, ROUTING) for sheet in map(router_sheet, study.routed))}"
        f"{section('Not supported by this evidence', missing(study), 'Left out, never guessed.')}"
        f"<footer>{notes}</footer>"
    )
    return document(f"Replay of {study.source}", body, asset("page.js"))
