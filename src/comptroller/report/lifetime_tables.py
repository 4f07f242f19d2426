"""Tables of a model's life: the answer in a line, dollars by stage, the next dollar, what each decision is worth."""

from __future__ import annotations

from comptroller.report.figures import dollars, number, tokens_text
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.training.lifetime_plan_document import (
    ClassAnswerDocument,
    LifetimePlan,
    LifetimeRival,
    MarginalDocument,
)


def headline(plan: LifetimePlan) -> str:
    """The answer in one line: "train 1.4x longer, serve at 4 bits, two samples on class B"."""
    longer = "longer" if plan.tokens_ratio >= 1 else "as long"
    words = [f"{plan.params / 1e9:,.2f} B on {tokens_text(plan.tokens)} ({number(plan.tokens_ratio)}x {longer})"]
    words += [f"serve in {plan.format}" + (f" with {plan.qat_share:.0%} aware of it" if plan.qat_share else "")]
    words += ["taught"] if plan.distilled else []
    words += [f"{number(plan.rollouts / 1e6)} M rollouts"] if plan.rollouts else []
    words += [f"{one.samples} samples on {one.name.partition(':')[0]}" for one in plan.classes if one.samples > 1]
    return ", ".join(words) + f": {plan.solved:.1%} solved, {dollars(plan.usd)}"


def stages_sheet(plan: LifetimePlan) -> ReportSheet:
    """Dollars by stage."""
    rows = tuple((name, usd, f"{usd / plan.usd:.1%}") for name, usd in plan.stages.items())
    return ReportSheet("Dollars by stage", (left("stage"), right("usd", "USD"), right("share", "of it")), rows)


def answers_sheet(plan: LifetimePlan) -> ReportSheet:
    """How each class is answered."""
    columns: SheetColumns[ClassAnswerDocument] = (
        left("name", "class"),
        right("share_pct", "of questions, %", lambda one: 100 * one.share),
        right("samples"),
        right("verdicts", "verdicts on each"),
        right("solved_pct", "solved, %", lambda one: 100 * one.solved),
    )
    return ReportSheet.of("Answers", columns, plan.classes)


def marginals_sheet(plan: LifetimePlan) -> ReportSheet:
    """The next dollar of every stage: freely moving ones are alike at an optimum, steps are no better."""
    columns: SheetColumns[MarginalDocument] = (
        left("stage"),
        right("points_per_musd", "points solved / M USD", lambda one: 100 * one.solved_per_musd),
        left("moves", "moves", lambda one: "by a step" if one.step else "freely"),
        left("note", "from, or to"),
    )
    whole = MarginalDocument(
        stage="the whole plan", usd=0.0, solved_per_musd=plan.price, step=False, note="planned again with 2 % more"
    )
    return ReportSheet.of("What the next dollar buys", columns, (whole, *plan.marginals))


def rivals_sheet(plan: LifetimePlan) -> ReportSheet:
    """The best life without each decision."""
    columns: SheetColumns[LifetimeRival] = (
        left("without"),
        right("params_b", "parameters, B", lambda one: one.params / 1e9),
        right("tokens_b", "tokens, B", lambda one: one.tokens / 1e9),
        right("solved_pct", "solved, %", lambda one: 100 * one.solved),
        right("usd", "USD"),
        left("why", "what it loses"),
    )
    return ReportSheet.of("Without each decision", columns, plan.rivals)


def lifetime_sheets(plan: LifetimePlan) -> tuple[ReportSheet, ...]:
    """All tables."""
    made = (stages_sheet(plan), answers_sheet(plan), marginals_sheet(plan), rivals_sheet(plan))
    return tuple(sheet for sheet in made if sheet.rows)


def goal(plan: LifetimePlan) -> str:
    """Loss, FLOPs of training and answers, the law."""
    passes = f", {number(plan.text_passes)} passes over the text" if plan.text_passes != 1.0 else ""
    return (
        f"loss {plan.loss:.4g}{passes}; {plan.training_flops:.3g} FLOP of training and {plan.serving_flops:.3g} of "
        f"answers; {dollars(1e3 * plan.usd_per_solved)} for a thousand solved; law: {plan.law}"
    )


def lifetime_page(plan: LifetimePlan) -> str:
    """The page as text."""
    tables = lifetime_sheets(plan)
    return ReportPage(
        title=f"{plan.name}: {headline(plan)}",
        subject=f"life of a model: {plan.name}",
        headline=headline(plan),
        lede=goal(plan),
        tiles=(
            PageTile("solved", f"{plan.solved:.1%}", f"{dollars(1e3 * plan.usd_per_solved)} for a thousand"),
            PageTile("cost", dollars(plan.usd), f"{plan.stages.get('answers', 0.0) / plan.usd:.0%} of it answers"),
            PageTile("model", f"{plan.params / 1e9:,.2f} B", f"{plan.tokens / plan.params:,.0f} tokens a parameter"),
        ),
        sections=tuple(PageSection(sheet.title, sheets=(sheet,)) for sheet in tables),
        footer=plan.notes,
    ).html()
