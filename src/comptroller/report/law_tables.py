"""Tables of laws side by side, of losses at splits by each, and of rewards of reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.report.figures import number
from comptroller.report.sheet import Cell, ReportSheet, SheetColumns, left, right
from comptroller.work.domain_split import DomainShare, domain_shares
from comptroller.work.law_comparison import LawComparison, LawStanding
from comptroller.work.reward_law import RewardReport
from comptroller.work.scaling_findings import ScalingReport

AVERAGE = "average"


def comparison_sheets(found: Sequence[LawComparison]) -> list[ReportSheet]:
    """Of each family its laws, the best on the runs left out first; then laws that could not be fitted."""
    refused = tuple((text,) for one in found for text in one.refused)
    return [*map(comparison_sheet, found), ReportSheet("Laws not fitted", (left("why"),), refused)]


def comparison_sheet(found: LawComparison) -> ReportSheet:
    """The laws of a family, and their average."""
    average = LawStanding(AVERAGE, "weights by the part before", {}, 1.0, float("nan"), found.average_mean,
                          found.average_worst)  # fmt: skip
    columns: SheetColumns[LawStanding] = (
        left("law"),
        left("formula"),
        right("weight", "weight", lambda one: one.weight),
        right("inside_pct", "fitted, %", lambda one: 100 * one.inside if one.parameters else None),
        right("mean_pct", "held out, %", lambda one: 100 * one.mean),
        right("worst_pct", "worst, %", lambda one: 100 * one.worst),
        left("parameters", None, lambda one: ", ".join(f"{name} {number(x)}" for name, x in one.parameters.items())),
    )
    title = f"Laws of {found.family}, {found.runs} runs; held out: up to {number(found.ratio)} times the compute fitted"
    return ReportSheet.of(title, columns, (*found.standings, average))


def families_sheet(found: Sequence[LawComparison]) -> ReportSheet:
    """The laws of all families in one table."""
    sheets = [comparison_sheet(one) for one in found]
    rows = tuple((one.family, *row) for one, sheet in zip(found, sheets, strict=True) for row in sheet.rows)
    return ReportSheet("Laws by family", (left("family"), *sheets[0].columns), rows)


def predictions_sheet(report: ScalingReport, found: LawComparison) -> ReportSheet:
    """Losses at the splits by every law of parameters and tokens."""
    rows, names = list[tuple[Cell, ...]](), list[str]()
    for split in report.splits:
        losses = found.predictions(split.params[0], split.tokens[0])
        names = list(losses)
        rows.append((f"{split.flops:.3g}", *losses.values()))
    columns = (left("flops", "FLOP"), *(right(name) for name in names))
    return ReportSheet(f"Losses at the splits by law, {report.family}", columns, tuple(rows) if len(names) > 1 else ())


def domain_sheet(reports: Sequence[ScalingReport], flops: float) -> ReportSheet:
    """A budget over domains, each an expert of its own, beside an even split; marked where beyond their hold-out."""
    shares = domain_shares([(one.family, one.fit.law, one.reach) for one in reports], flops)
    columns: SheetColumns[DomainShare] = (
        left("family"),
        right("share_pct", "share, %", lambda one: 100 * one.share),
        left("flops", "FLOP", lambda one: f"{one.flops:.3g}"),
        right("params_b", "parameters, B", lambda one: one.params / 1e9),
        right("tokens_b", "tokens, B", lambda one: one.tokens / 1e9),
        right("loss"),
        right("even_loss", "loss of an even share"),
        left("beyond", "supported", lambda one: "beyond its hold-out" if one.beyond else "yes"),
    )
    saved = sum(one.even_loss - one.loss for one in shares) / len(shares)
    title = f"{flops:.3g} FLOP over families at equal marginal loss: mean loss {saved:.2g} below an even split"
    return ReportSheet.of(title, columns, shares)


def reward_sheets(found: Sequence[RewardReport]) -> list[ReportSheet]:
    """Curves, rewards at asked compute, what is not supported."""
    columns: SheetColumns[RewardReport] = (
        left("family"),
        right("points"),
        right("start", "R_0", lambda one: one.curve.start),
        left("asymptote", "A", lambda one: _with_band(one.curve.asymptote, one.asymptote)),
        left("midpoint", "C_mid", lambda one: _with_band(one.curve.midpoint, one.midpoint)),
        left("exponent", "B", lambda one: _with_band(one.curve.exponent, one.exponent)),
        right("held_out_points", "held out, points", lambda one: 100 * one.held_out),
        right("worst_points", "worst", lambda one: 100 * one.worst),
        left("reach", "supported to", lambda one: f"{one.reach:.3g}"),
    )
    rows = tuple(
        (one.family, f"{compute:.4g}", value, f"{low:.3f} to {high:.3f}")
        for one in found
        for compute, value, low, high in one.rewards
    )
    rewards = ReportSheet("Rewards", (left("family"), left("compute"), right("reward"), left("interval", "90 %")), rows)
    title = "R = R_0 + (A - R_0) / (1 + (C_mid / C)^B); held out: beyond half of the compute"
    refused = tuple((text,) for one in found for text in one.refused)
    return [ReportSheet.of(title, columns, found), rewards, ReportSheet("Not supported", (left("why"),), refused)]


def _with_band(value: float, band: tuple[float, float]) -> str:
    return f"{number(value)} ({number(band[0])} to {number(band[1])})"
