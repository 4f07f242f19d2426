"""Accuracy of what `plan` and `simulate` predict, with models, accelerators, dates and sources left out.

    python benchmarks/accuracy_plan.py [DATA]       (default: COMPTROLLER_DATA or ../shared/data)

Every prediction is the closed loop that a plan prices: constants and effects of causes, no learned residual, no version
or date that a plan would not state (an old generation of an engine is a setting of its deployment). Each is from a fit
without the group that it is judged on. Writes docs/accuracy.md and benchmarks/results/accuracy_plan.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import numpy.typing as npt

from accuracy_causes import why
from accuracy_data import ROOT, data_folder
from accuracy_folds import SPLIT_DATE, unfitted
from accuracy_runs import answered, gpt_oss, speed
from accuracy_sections import notes, sections
from comptroller.costs.causes import TIMED, strangeness
from comptroller.costs.closed_loop import ClosedLoopDemand, closed_first_token
from comptroller.costs.serving_time import closed_prompts_per_step, marginal_prompt_s, token_time_s
from comptroller.costs.timing import ServingOverheads
from comptroller.facts.serving import Band, both
from comptroller.measure.calibrate import OVERLOAD_S, ParameterBelief, fit_effects, fit_stated, left_over, start
from comptroller.measure.features import FeatureBank
from comptroller_lab.baseline import RooflineCalibration
from comptroller_lab.calibration_runs import calibration_banks, weighed
from comptroller_lab.intervals import FEWEST_SPREAD, shifted_band, units_of

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Labels = npt.NDArray[np.str_]

MODEL_FOLDS = 5
"""Folds of models; with one fold a model the fits take twice as long, for the same medians within half a point."""

LEAST = 75
"""Rows below which a source or an accelerator joins the fold of the rest; a median of fewer says little."""

ASKED = (74, 88)
"""Per cent of truths that an 80 % band is to hold on every split."""

PREDICTORS = ("ours", "no fit", "roofline", "nearest")


@dataclass(frozen=True)
class GroupError:
    """Errors of a group in per cent, and the share of truths inside the 80 % band of the other groups' errors."""

    rows: int
    median: float
    mean: float
    bias: float
    coverage: float

    @classmethod
    def of(cls, log_error: Array, inside: Array | None = None) -> GroupError | None:
        """Of log measured over predicted; nothing without a row."""
        known = np.isfinite(log_error)
        if not known.any():
            return None
        error = log_error[known]
        off = np.abs(np.expm1(-error))
        held = float("nan") if inside is None else 100 * float(inside[known].mean())
        return cls(int(known.sum()), 100 * float(np.median(off)), 100 * float(off.mean()),
                   100 * float(np.expm1(-np.median(error))), held)  # fmt: skip


@dataclass(frozen=True)
class JudgedRuns:
    """All runs with the labels that they are split and reported by."""

    runs: FeatureBank
    labels: Mapping[str, Labels]

    @classmethod
    def of(cls, runs: FeatureBank) -> JudgedRuns:
        """The runs of a bank."""
        seen = runs.observations
        text: dict[str, Callable[[int], str]] = {
            "model": lambda i: runs.identities[i].architecture,
            "accelerator": lambda i: seen[i].replica.device.id,
            "engine": lambda i: " ".join((runs.engines[i], seen[i].replica.engine.generation)).strip(),
            "kind": lambda i: "experts" if seen[i].replica.model.is_moe else "dense",
            "source": lambda i: seen[i].source,
            "set": lambda i: "servers" if seen[i].source.startswith("silicon") else "published",
            "vendor": lambda i: seen[i].replica.device.vendor,
            "strange": lambda i: strangeness(seen[i].replica),
        }
        return cls(runs, {name: np.array([of(i) for i in range(len(seen))]) for name, of in text.items()})

    def folds(self, split: str) -> Iterator[tuple[Index, Index]]:
        """Training and test rows: no group of the test stands in the training rows."""
        groups = np.array([o.group for o in self.runs.observations])
        for value in np.unique(self._fold(split)):
            test = np.flatnonzero(self._fold(split) == value)
            if value:
                train = np.flatnonzero((self._fold(split) != value) & ~np.isin(groups, groups[test]))
                yield train, test

    def _fold(self, split: str) -> Labels:
        if split == "date":
            late = [o.measured is not None and o.measured >= SPLIT_DATE for o in self.runs.observations]
            return np.where(np.array(late) & (self.labels["set"] == "servers"), "late", "")
        label = self.labels[split]
        names, counts = np.unique(label, return_counts=True)
        if split == "model":
            return np.array([f"{int(np.searchsorted(names, name)) % MODEL_FOLDS}" for name in label])
        large = names[counts >= LEAST]
        label = np.where(np.isin(label, large), label, "rest")
        return np.where(self.labels["set"] == "servers", "", label) if split == "source" else label


@dataclass(frozen=True)
class HeldErrors:
    """Log of measured over predicted, by split and quantity, for each predictor; (rows,)."""

    tpot: dict[str, Array]
    ttft: dict[str, Array]
    inside: Mapping[str, Array] = field(default_factory=dict)


def held_errors(
    judged: JudgedRuns, split: str, ideal: Mapping[str, tuple[Array, Array]], whole: ParameterBelief
) -> HeldErrors:
    """Errors of every test row of a split.

    whole: the fit to all runs whose settings are stated; it stands where none of them is left out, and elsewhere the
    fits start from it, which saves rounds and moves no optimum.
    """
    near = replace(start(judged.runs, None), logs=whole.logs)
    runs, count = judged.runs, len(judged.runs.observations)
    first = np.where(runs.features.ttft_s <= OVERLOAD_S, runs.features.ttft_s, np.nan)
    truth = np.log(runs.features.tpot_s), np.log(first)
    found = [{name: np.full(count, np.nan) for name in PREDICTORS} for _ in truth]
    for train, test in judged.folds(split):
        part = runs.take(train)
        same = not (judged.labels["set"][test] == "servers").any()
        ours = left_over(runs.take(test), fit_effects(part, whole if same else fit_stated(part, near)))
        for n, quantity in enumerate(truth):
            found[n]["ours"][test] = ours[n]
            for name, logs in ideal.items():
                found[n][name][test] = (quantity - logs[n])[test]
            found[n]["nearest"][test] = quantity[test] - _nearest(runs, train, test, ideal["no fit"][n], quantity)
        print(f"{split}: {len(test)} rows of {judged.runs.observations[test[0]].replica.device.id} and others")
    return HeldErrors(found[0], found[1])


def judged_by(judged: JudgedRuns, held: Mapping[str, HeldErrors], split: str, quantity: str) -> Array:
    """Whether each truth lies in the 80 % band of the other groups' errors; NaN where two groups are not left."""
    errors = getattr(held[split], quantity)["ours"]
    inside, group, kind, models = (
        np.full(len(errors), np.nan),
        *(judged.labels[n] for n in ("strange", "set", "kind")),
    )
    for _, test in judged.folds(split):
        others = np.setdiff1d(np.arange(len(errors)), test)
        for of in sorted({(str(group[i]), str(kind[i]), str(models[i])) for i in test}):
            rows = test[(group[test] == of[0]) & (kind[test] == of[1]) & (models[test] == of[2])]
            known, band = rows[np.isfinite(errors[rows])], others_band(judged, held, (split, quantity), others, of)
            if band:
                inside[known] = (errors[known] >= band[0]) & (errors[known] <= band[1])
    return inside


def others_band(
    judged: JudgedRuns, held: Mapping[str, HeldErrors], figure: tuple[str, str], others: Index, of: tuple[str, str, str]
) -> Band | None:
    """The 80 % band of other rows' errors on a split and quantity (`comptroller_lab.intervals.shifted_band`).

    Bands are as a fit without the rows would ship them: by what makes a replica strange, from units of the split left
    out (of accelerators each with each model), of dense models and experts apart where the kind has `FEWEST_SPREAD`
    other units; a group with fewer than two other units takes the band of all strange ones, or of all. Where no first
    token of strange ones is left, theirs is as plans have it (`facts.serving.ServingFacts.first_token_band`). Dates are
    judged by models: a plan's band does not know of days to come.

    of: what makes the replicas strange, servers or published points, and the kind of models.
    """
    (split, quantity), (strange, which, model) = figure, of
    split = "model" if split == "date" else split
    units = judged.labels[split]
    if split == "accelerator":
        units = np.char.add(units, judged.labels["model"])
    source = getattr(held[split], quantity)["ours"]
    group, kind, models = (judged.labels[name][others] for name in ("strange", "set", "kind"))
    near = (group == strange) & (kind == which)
    like = near & (models == model)
    like &= units_of(source[others[like]], units[others[like]]) >= FEWEST_SPREAD
    choices = [like, near, ((group != TIMED) == (strange != TIMED)) & (kind == which)]
    borrows = strange != TIMED and quantity == "ttft"
    if not borrows:
        choices += [kind == which, np.ones(len(others), dtype=bool)]
    bands = (shifted_band(source[others[some]], units[others[some]]) for some in choices)
    found = next((band for band in bands if band), None)
    if found or not borrows:
        return found
    timed = others_band(judged, held, ("model", "ttft"), others, (TIMED, "servers", model))
    steps = others_band(judged, held, (split, "tpot"), others, of)
    return both(timed, steps) if timed and steps else None


def kernels_alone(runs: FeatureBank) -> tuple[Array, Array]:
    """Logs of TPOT and TTFT of kernels as timed one by one, nothing between them."""
    seen = runs.features
    decode, mixed, solo = seen.decode.sum(axis=1), seen.mixed.sum(axis=1), seen.chunk.sum(axis=1) * seen.chunks
    marginal = marginal_prompt_s(mixed, decode, seen.chunks, seen.stages)
    others = closed_prompts_per_step(seen.batch, seen.output_tokens, 1.0) + seen.own / seen.output_tokens
    token = token_time_s(decode, others, marginal)
    load = ClosedLoopDemand(seen.clients, seen.batch, seen.output_tokens)
    first = closed_first_token(ServingOverheads(), load, solo, marginal, token)
    return np.log(token), np.log(first.total_s)


def sampled_roofline(runs: FeatureBank) -> tuple[Array, Array]:
    """Logs of TPOT and TTFT at the datasheet's rates, of every fifth run: each takes milliseconds alone."""
    rows = np.arange(0, len(runs.observations), 5)
    found = np.full((2, len(runs.observations)), np.nan)
    found[:, rows] = unfitted(runs.take(rows), RooflineCalibration())
    return found[0], found[1]


def _nearest(runs: FeatureBank, train: Index, test: Index, bare: Array, truth: Array) -> Array:
    """Log seconds by the ratio to the bare kernels of the three nearest measured configurations."""
    known = train[np.isfinite(truth[train])]
    place, kinds = runs.features.place, np.array([[i.engine, i.accelerator, i.formats] for i in runs.identities])
    ratio, found = truth[known] - bare[known], np.empty(len(test))
    for n, i in enumerate(test):
        distance = ((place[known] - place[i]) ** 2).sum(axis=1) + 4.0 * (kinds[known] != kinds[i]).sum(axis=1)
        found[n] = bare[i] + np.median(ratio[np.argpartition(distance, 3)[:3]])
    return found


def table(judged: JudgedRuns, held: Mapping[str, HeldErrors]) -> Iterator[str]:
    """Splits by set and kind, beside the other predictors."""
    for quantity in ("tpot", "ttft"):
        yield f"\n## {quantity.upper()}: median error, per cent\n"
        yield "| left out | judged on | rows | ours | bias | 80 % band holds | no fit | roofline | nearest neighbour |"
        yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
        for split, errors in held.items():
            for name, rows in _groups(judged):
                cells = {p: GroupError.of(getattr(errors, quantity)[p][rows]) for p in PREDICTORS}
                own = GroupError.of(getattr(errors, quantity)["ours"][rows], errors.inside[quantity][rows])
                if own is None or own.rows < 3:
                    continue
                band = f"{own.coverage:.0f} %" if np.isfinite(own.coverage) else ""
                rest = " | ".join(f"{cell.median:.1f}" if (cell := cells[p]) else "" for p in PREDICTORS[1:])
                yield f"| {split} | {name} | {own.rows} | {own.median:.1f} | {own.bias:+.0f} | {band} | {rest} |"


def _groups(judged: JudgedRuns) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    labels = judged.labels
    for name in ("servers", "published"):
        yield name, labels["set"] == name
        for kind in ("dense", "experts"):
            yield f"{name}, {kind}", (labels["set"] == name) & (labels["kind"] == kind)
    yield "AMD", labels["vendor"] == "AMD"


def coverage(held: Mapping[str, HeldErrors], judged: JudgedRuns) -> Iterator[str]:
    """How often 80 % bands hold the truth, by split, and whether that is within what is asked."""
    yield "\n## Do bands of 80 % hold?\n"
    yield f"Truths inside the band of the other groups' errors, per cent. Must: {ASKED[0]} to {ASKED[1]} %.\n"
    yield "| left out | quantity | judged on | rows | 80 % band holds | |"
    yield "|---|---|---|---:|---:|---|"
    for split, errors in held.items():
        for quantity in ("tpot", "ttft"):
            for name, rows in _groups(judged):
                own = GroupError.of(getattr(errors, quantity)["ours"][rows], errors.inside[quantity][rows])
                if name not in {"servers", "published"} or own is None or not np.isfinite(own.coverage):
                    continue
                held_in = ASKED[0] <= own.coverage <= ASKED[1]
                word = "" if held_in else "too wide" if own.coverage > ASKED[1] else "too narrow"
                yield f"| {split} | {quantity.upper()} | {name} | {own.rows} | {own.coverage:.0f} % | {word} |"


def breakdown(judged: JudgedRuns, errors: HeldErrors, by: str) -> Iterator[str]:
    """TPOT of one split by a label."""
    yield f"\n### By {by}\n"
    yield "| | rows | median | bias | 80 % band holds |"
    yield "|---|---:|---:|---:|---:|"
    for value in np.unique(judged.labels[by]):
        rows = judged.labels[by] == value
        found = GroupError.of(errors.tpot["ours"][rows], errors.inside["tpot"][rows])
        if found:
            yield f"| {value} | {found.rows} | {found.median:.1f} | {found.bias:+.0f} | {found.coverage:.0f} % |"


def worst(judged: JudgedRuns, errors: HeldErrors) -> Iterator[str]:
    """The ten groups of at least ten rows with the largest signed error."""
    columns = (judged.labels[x] for x in ("source", "accelerator", "engine", "kind"))
    label = np.array([" · ".join(parts) for parts in zip(*columns, strict=True)])
    found = [(GroupError.of(errors.tpot["ours"][label == name]), name) for name in np.unique(label)]
    ranked = sorted((abs(np.log1p(g.bias / 100)), g, name) for g, name in found if g and g.rows >= 10 and g.bias > -100)
    yield "\n## The ten worst groups (a source, a model or an accelerator left out, TPOT)\n"
    yield "| source, accelerator, engine, models | rows | signed error | why |"
    yield "|---|---:|---:|---|"
    for _, group, name in ranked[:-11:-1]:
        yield f"| {name} | {group.rows} | {group.bias:+.0f} % | {why(name)} |"


def main() -> None:
    """Fit, judge, write."""
    data = data_folder(sys.argv[1:])
    banks = calibration_banks(data)
    judged = JudgedRuns.of(weighed(FeatureBank.joined([runs for runs, _ in banks.values()])))
    ideal = {"no fit": kernels_alone(judged.runs), "roofline": sampled_roofline(judged.runs)}
    whole = fit_stated(judged.runs, start(judged.runs, None))
    held = {split: held_errors(judged, split, ideal, whole) for split in ("model", "accelerator", "date", "source")}
    held = {
        split: replace(errors, inside={q: judged_by(judged, held, split, q) for q in ("tpot", "ttft")})
        for split, errors in held.items()
    }
    left_out = [f"- {name}: {line}" for name, (_, report) in banks.items() for line in report.lines()[:12]]
    lines = [
        *HEAD,
        *table(judged, held),
        *coverage(held, judged),
        "\n## TPOT with the accelerator, and for published points the source, left out",
        *breakdown(judged, held["accelerator"], "accelerator"),
        *breakdown(judged, held["model"], "engine"),
        *breakdown(judged, held["source"], "source"),
        *worst(judged, held["source"]),
        *(line for section in sections(data) for line in section),
        *answered(banks),
        *gpt_oss(data, banks),
        *speed(),
        *notes(),
        "\n## Left out, by rules on input columns\n",
        *left_out,
    ]
    (ROOT / "docs" / "accuracy.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = {
        split: {
            quantity: {
                name: asdict(found)
                for name, rows in _groups(judged)
                if (found := GroupError.of(getattr(errors, quantity)["ours"][rows], errors.inside[quantity][rows]))
            }
            for quantity in ("tpot", "ttft")
        }
        for split, errors in held.items()
    }
    path = ROOT / "benchmarks" / "results" / "accuracy_plan.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


HEAD = (
    "<!-- written by benchmarks/accuracy_plan.py -->",
    "# Accuracy of predictions\n",
    "What `plan` and `simulate` predict, held against measurements of others: a closed loop priced by the fitted",
    "constants and the effects of causes, without a learned residual. Every figure is of groups the fit did not see:",
    "models (five folds), an accelerator, dates from March 2026 on, or a source of published points.",
    "Servers: end-to-end measurements of aiconfigurator-core (H100, H200, B200, GB200). Published: InferenceX on AMD,",
    "and points of some twenty other sources under engines of 2024 to 2026. No fit: kernels as timed one by one.",
    "80 % bands: of the other groups' errors, with the shift that a new group brings (a random-effects interval over",
    "models, accelerators with models, or sources), apart for other vendors, untimed engines and older generations,",
    "and for dense models and experts where six units of each were measured; of first tokens that nobody held out on",
    "their like, as on timed servers and of their steps, both in one;",
    "`comptroller show calibration` says which of them judges a deployment.",
    "Roofline: the datasheet, every fifth row. Nearest neighbour: the ratio to the bare kernels of the three nearest",
    "configurations.",
)

if __name__ == "__main__":
    main()
