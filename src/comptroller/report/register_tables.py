"""Tables of a register: FLOPs by both methods, thresholds of rules, what they do not see; and the rules themselves."""

from __future__ import annotations

from comptroller.facts.compute_rule import ComputeRule
from comptroller.report.sheet import ReportSheet, SheetColumns, left
from comptroller.training.register_document import ComputeCountDocument, ComputeRegister, RuleVerdict, ThresholdDocument

WORDS = {
    RuleVerdict.REACHED: "reached",
    RuleVerdict.NOT_REACHED: "not reached",
    RuleVerdict.WITHIN_ERROR: "within the error of the count",
    RuleVerdict.UNKNOWN: "unknown",
}

HIT = (RuleVerdict.REACHED, RuleVerdict.WITHIN_ERROR)

RULES: SheetColumns[ComputeRule] = (
    left("id"),
    left("jurisdiction"),
    left("name"),
    left("period", "applies"),
    left("thresholds", None, lambda rule: ", ".join(_threshold_words(rule))),
)


def _threshold_words(rule: ComputeRule) -> list[str]:
    found = [f"{one.min_flops.value:.0e} FLOP" for one in rule.compute if one.min_flops]
    found += ["a third of the original" for one in rule.compute if one.min_share_of_base]
    found += [f"{one.min_flops_per_s.value:.0e} flop/s" for one in rule.cluster]
    return list(dict.fromkeys([*found, *(f"TPP {one.min_tpp.value:,.0f}" for one in rule.device)]))


def register_sheets(register: ComputeRegister) -> tuple[ReportSheet, ...]:
    """Counts, thresholds, and what they do not see."""
    rows = tuple(tuple(text.split(": ", 1)) for text in register.unseen)
    unseen = ReportSheet("What a training threshold does not see", (left("what"), left("how_much", "how much")), rows)
    return (counts_sheet(register), thresholds_sheet(register), unseen)


def counts_sheet(register: ComputeRegister) -> ReportSheet:
    """FLOPs by method, and of stages that were stated."""
    columns: SheetColumns[ComputeCountDocument] = (
        left("method"),
        left("flops", "FLOP", lambda one: f"{one.flops:.3g}"),
        left("between", "between", lambda one: f"{one.low:.3g} and {one.high:.3g}"),
        left("how", "how it is counted"),
    )
    stated = tuple(
        ComputeCountDocument(method=name.replace("_", " "), flops=flops, low=flops, high=flops, how="as stated")
        for name, flops in register.other_flops.items()
    )
    return ReportSheet.of("Compute of the run", columns, (*register.counts, *stated))


def thresholds_sheet(register: ComputeRegister) -> ReportSheet:
    """Every threshold with its verdict."""
    columns: SheetColumns[ThresholdDocument] = (
        left("rule", "rule", lambda one: f"{one.rule}: {one.threshold}"),
        left("at", "at", lambda one: f"{one.at:.4g} {one.unit}"),
        left("counted", "counted", lambda one: f"{one.counted:.4g}"),
        left("verdict", "verdict", lambda one: WORDS[one.verdict]),
        left("applies", "applies", _period),
        left(
            "means", "what follows, or of what it is counted", lambda one: one.means if one.verdict in HIT else one.why
        ),
    )
    return ReportSheet.of("Rules", columns, register.thresholds)


def _period(one: ThresholdDocument) -> str:
    return f"from {one.applies_from}" + (f" until {one.applies_until}" if one.applies_until else "")


def verdict_sheet(registers: dict[str, ComputeRegister]) -> ReportSheet:
    """A line for each run of a register: its FLOPs, and the rules that it reaches or that lie within the error."""
    rows = []
    for name, one in registers.items():
        hit = [t for t in one.thresholds if t.verdict in HIT]
        words = [
            f"{t.rule} {t.threshold}{'' if t.verdict is RuleVerdict.REACHED else ' (within the error)'}" for t in hit
        ]
        rows.append((name, f"{one.counts[0].flops:.3g}", *_hardware(one), ", ".join(words)))
    columns = (
        left("run"),
        left("architecture", "FLOP by architecture"),
        left("hardware", "by hardware"),
        left("ratio", "hardware / architecture"),
        left("rules", "thresholds"),
    )
    return ReportSheet("Register", columns, tuple(rows))


def _hardware(one: ComputeRegister) -> tuple[str, str]:
    if len(one.counts) < 2:
        return ("", "")
    return (f"{one.counts[1].flops:.3g}", f"{one.counts[1].flops / one.counts[0].flops:.2f}")
