"""Fits the serving calibration to measured runs, pooling partially towards what is already believed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from comptroller.costs.causes import EffectName
from comptroller.costs.residual import ResidualIdentity, own_run
from comptroller.errors import InputError
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.facts.serving import ANY, ResidualAnchor, ServingFacts, ServingParameter, anchors, serving_facts
from comptroller.measure import robust
from comptroller.measure.calibration_text import anchors_text, constants_text
from comptroller.measure.features import FeatureBank, bank
from comptroller.measure.observations import ExclusionReport, RunObservation, latency_problem
from comptroller.measure.residuals import (
    TPOT_KERNEL,
    TTFT_KERNEL,
    ResidualPoints,
    TrainedResidual,
    anchor,
    points_from_anchors,
    train,
)
from comptroller.measure.serving_parameters import PRIORS, ParameterLayout, RunLatencyModel, is_first, prior_of

Array = npt.NDArray[np.float64]

TPOT_SETTINGS = robust.FitSettings(error=0.3, cell=0.1, most=2.0)
TTFT_SETTINGS = robust.FitSettings(error=0.3, cell=0.3, most=2.0, rounds=15)
"""A cell (one engine, model, formats, accelerator, version and day) counts as few measurements: its runs err
together. Chosen by the error on models and systems left out."""

WEIGHTS = ("tpot_weight", "ttft_weight")

UNIT_FACTOR = 100.0
"""A latency this far from the shipped prediction is not of the unit its column says."""

OVERLOAD_S = 20.0
"""Beyond this a time to first token measures a queue, not the parts a fit can tell apart."""


@dataclass(frozen=True, slots=True)
class ParameterBelief:
    """Parameters as logarithms with standard deviations, before and after a fit."""

    layout: ParameterLayout
    centre: Array
    prior: Array
    logs: Array
    spread: Array

    def parameters(self) -> tuple[ServingParameter, ...]:
        """As they stand in a calibration file, in order of name and engine."""
        rows = zip(self.layout.names, self.logs, self.spread, self.centre, self.prior, strict=True)
        values = [
            ServingParameter(
                name=name,
                engine=engine,
                unit=prior_of(name).unit,
                value=float(np.exp(log)),
                error=float(spread),
                prior=float(np.exp(centre)),
                prior_error=float(prior),
            )
            for (name, engine), log, spread, centre, prior in rows
        ]
        return tuple(sorted(values, key=lambda p: (p.name, p.engine)))


@dataclass(frozen=True, slots=True)
class RunLatencyPrediction:
    """Logs of predicted TPOT and TTFT of runs with their 80 % bands, (3, runs): value, low, high."""

    tpot: Array
    ttft: Array
    novelty: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """A fitted calibration."""

    belief: ParameterBelief
    tpot: TrainedResidual
    ttft: TrainedResidual
    rows: int

    def physics(self, runs: FeatureBank) -> tuple[Array, Array]:
        """Logs of TPOT and TTFT without the residual; engines never fitted take the mean of the others."""
        layout = ParameterLayout.of((*self.belief.layout.engines, *runs.engines), _names(runs))
        facts = dict(zip(self.belief.layout.names, self.belief.logs, strict=True))
        by_name: dict[str, list[float]] = defaultdict(list)
        for (name, _), log in facts.items():
            by_name[name].append(float(log))
        logs = np.array([facts.get(key, _elsewhere(key[0], by_name)) for key in layout.names])
        model = RunLatencyModel.of(runs, layout)
        return model.tpot(logs), model.ttft(logs)

    def predict(self, runs: FeatureBank) -> RunLatencyPrediction:
        """Predictions with intervals."""
        tpot, ttft = self.physics(runs)
        first, novelty = _bands_with_residual(tpot, self.tpot, runs)
        second, _ = _bands_with_residual(ttft, self.ttft, runs)
        return RunLatencyPrediction(first, second, novelty)

    def facts(self, about: ServingFacts) -> ServingFacts:
        """As a calibration file, `about` saying what data and command it came from."""
        return replace(
            about,
            rows=self.rows,
            parameters=self.belief.parameters(),
            tpot=self.tpot.bands,
            ttft=self.ttft.bands,
            tpot_kernel=self.tpot.kernel,
            ttft_kernel=self.ttft.kernel,
        )

    def anchors(self) -> list[ResidualAnchor]:
        """The residual's anchors, each with its weight for TPOT and TTFT."""
        residual_anchors: dict[tuple[ResidualIdentity, tuple[float, ...]], list[float]] = {}
        for column, part in enumerate((self.tpot, self.ttft)):
            rows = zip(part.points.identities, part.points.places, part.weights, strict=True)
            for identity, place, weight in rows:
                residual_anchors.setdefault((identity, tuple(place)), [np.nan, np.nan])[column] = float(weight)
        order = sorted(
            residual_anchors,
            key=lambda k: (k[0].engine, k[0].architecture, k[0].accelerator, k[0].formats, k[0].run, k[1]),
        )
        return [anchor(identity, np.array(place), *residual_anchors[identity, place]) for identity, place in order]


def _elsewhere(name: str, by_name: Mapping[str, list[float]]) -> float:
    """The log of a parameter of an engine never fitted: the mean of the others; an effect never fitted is none."""
    return float(np.mean(by_name[name])) if name in PRIORS else 0.0


def _names(runs: FeatureBank) -> set[EffectName]:
    return {name for names in runs.effects for name in names}


def start(runs: FeatureBank, believed: ServingFacts | None) -> ParameterBelief:
    """What is believed before a fit to runs: the shipped values with their error bars, or the first priors."""
    layout = ParameterLayout.of(runs.engines, _names(runs))
    centre, spread = layout.centre(), layout.spread()
    if believed is not None:
        table = believed.table
        for i, (name, engine) in enumerate(layout.names):
            known = table.get((name, engine))
            elsewhere = name in PRIORS and any(p.name == name for p in believed.parameters)
            centre[i] = np.log(believed.value(name, engine)) if known or elsewhere else np.log(prior_of(name).centre)
            spread[i] = known.error if known else prior_of(name).spread
    return ParameterBelief(layout, centre, spread, centre.copy(), spread.copy())


def fit_parameters(runs: FeatureBank, belief: ParameterBelief) -> ParameterBelief:
    """Fit all parameters to runs whose settings are stated, then the effects of causes to the others.

    Published points (`RunObservation.spread` above 0) move the effects and the parameters of engines that no other run
    shows; what the stated runs say (collectives over a fabric, what their engines add before the first token) is not
    theirs to change.
    """
    return fit_effects(runs, fit_stated(runs, belief))


def fit_stated(runs: FeatureBank, belief: ParameterBelief) -> ParameterBelief:
    """Fit all parameters to the runs whose settings are stated; to all runs, where none are."""
    return _fit_stage(stated_runs(runs), belief, np.ones(len(belief.logs), dtype=bool))


def fit_effects(runs: FeatureBank, belief: ParameterBelief) -> ParameterBelief:
    """Fit to the other runs what the stated ones do not show: effects of other causes, and engines."""
    known, after = stated_runs(runs), belief
    others = np.flatnonzero([o.spread > 0.0 for o in runs.observations])
    if len(known.observations) == len(runs.observations):
        return after
    engines, shown = {*known.engines, ANY}, _names(known)
    moving = np.array([key[1] not in engines if key[0] in PRIORS else key not in shown for key in belief.layout.names])
    second = _fit_stage(runs.take(others), replace(after, centre=after.logs, prior=after.spread), moving)
    return replace(second, centre=belief.centre, prior=belief.prior)


def fit_some(runs: FeatureBank, belief: ParameterBelief, mark: str) -> ParameterBelief:
    """Fit the parameters whose name holds `mark` to runs, all others as they are believed."""
    moving = np.array([mark in name for name, _ in belief.layout.names])
    return _fit_stage(runs, belief, moving)


def stated_runs(runs: FeatureBank) -> FeatureBank:
    """The runs whose settings their source states; all, where none does."""
    index = np.flatnonzero([o.spread == 0.0 for o in runs.observations])
    return runs.take(index) if len(index) else runs


def _fit_stage(runs: FeatureBank, belief: ParameterBelief, moving: npt.NDArray[np.bool_]) -> ParameterBelief:
    """Fit the parameters of the steps to TPOT, then those of the first token to TTFT, of those that may move."""
    model = RunLatencyModel.of(runs, belief.layout)
    first = np.array([is_first(name) for name, _ in belief.layout.names])
    logs, spread = belief.logs, belief.spread
    for predict, seconds, free, how in (
        (model.tpot, runs.features.tpot_s, ~first & moving, TPOT_SETTINGS),
        (model.ttft, runs.features.ttft_s, first & moving, TTFT_SETTINGS),
    ):
        usable = np.flatnonzero(np.isfinite(seconds) & (seconds <= OVERLOAD_S))
        if not len(usable):
            continue
        target = _target(runs, usable, seconds)
        prior = robust.FitPrior(np.where(free, belief.centre, logs), belief.prior, free)
        found = robust.fit(_SubsetPredictor(predict, usable), target, prior, how, logs)
        logs, spread = np.where(free, found.logs, logs), np.where(free, found.spread, spread)
    return replace(belief, logs=logs, spread=spread)


def left_over(runs: FeatureBank, belief: ParameterBelief) -> tuple[Array, Array]:
    """Log of measured over predicted TPOT and TTFT; unknown where not measured or overloaded."""
    model = RunLatencyModel.of(runs, belief.layout)
    first = np.where(runs.features.ttft_s <= OVERLOAD_S, runs.features.ttft_s, np.nan)
    return np.log(runs.features.tpot_s) - model.tpot(belief.logs), np.log(first) - model.ttft(belief.logs)


def fit_bank(
    runs: FeatureBank,
    belief: ParameterBelief,
    older: Sequence[ResidualAnchor] = (),
    believed: ServingFacts | None = None,
) -> CalibrationFit:
    """Fit the parameters, then the residual over what they leave of the runs whose settings are stated.

    `older` anchors stay beside the new runs.
    """
    after = fit_parameters(runs, belief)
    kernels = (believed.tpot_kernel, believed.ttft_kernel) if believed else (TPOT_KERNEL, TTFT_KERNEL)
    trained = []
    stated = stated_runs(runs)
    for kernel, weight, residual in zip(kernels, WEIGHTS, left_over(stated, after), strict=True):
        olds = points_from_anchors(kernel, older, [getattr(anchor, weight) for anchor in older])
        trained.append(train(kernel, _join_points(olds, stated, residual)))
    return CalibrationFit(after, trained[0], trained[1], len(runs.observations))


@dataclass(frozen=True, slots=True)
class _SubsetPredictor:
    """A prediction for some of the runs."""

    predict: Callable[[Array], Array]
    index: npt.NDArray[np.int64]

    def __call__(self, logs: Array) -> Array:
        return self.predict(logs)[self.index]


def _target(runs: FeatureBank, usable: npt.NDArray[np.int64], seconds: Array) -> robust.FitTarget:
    cells = np.unique(np.array(runs.cells)[usable], return_inverse=True)[1]
    groups = np.unique([runs.observations[i].group for i in usable], return_inverse=True)[1]
    share = np.array([runs.observations[i].weight for i in usable])
    spread = np.zeros(int(cells.max()) + 1)
    np.maximum.at(spread, cells, np.array([runs.observations[i].spread for i in usable]))
    return robust.FitTarget(np.log(seconds[usable]), cells.astype(np.int64), groups.astype(np.int64), share, spread)


def _bands_with_residual(
    physics: Array, trained: TrainedResidual, runs: FeatureBank
) -> tuple[Array, npt.NDArray[np.str_]]:
    """Value and band of every run, and how new it is."""
    residual = trained.residual()
    rows: dict[ResidualIdentity, list[int]] = defaultdict(list)
    for i, identity in enumerate(runs.identities):
        rows[identity].append(i)
    bands = np.empty((3, len(physics)))
    novelty = np.empty(len(physics), dtype="<U7")
    for identity, index in rows.items():
        correction = residual.correction(identity, runs.features.place[index])
        value = physics[index] + correction.mean
        if correction.novelty == "seen":
            low, high = (edge * correction.spread for edge in trained.bands.seen)
        else:
            edges = trained.bands.related if correction.novelty == "related" else trained.bands.new
            low, high = (np.full(len(index), edge) for edge in edges)
        bands[:, index] = value, value + low, value + high
        novelty[index] = correction.novelty
    return bands, novelty


def _join_points(older: ResidualPoints, runs: FeatureBank, residual: Array) -> ResidualPoints:
    return ResidualPoints.merged(
        [*older.identities, *runs.identities],
        np.concatenate([older.places, runs.features.place]),
        np.concatenate([older.residual, residual]),
    )


@dataclass(frozen=True, slots=True)
class UserCalibration:
    """What a fit on a user's own runs found: the files' contents, and what to say about it.

    runs: those it was fitted to.  excluded: runs left out, by reason and row.  unidentified: parameters the runs say
    nothing about.
    """

    fitted: CalibrationFit
    facts: ServingFacts
    excluded: ExclusionReport
    runs: FeatureBank

    @property
    def unidentified(self) -> tuple[ServingParameter, ...]:
        """Parameters whose error bar the data did not narrow (posterior over prior above 0.9)."""
        return tuple(p for p in self.facts.parameters if not p.identified)

    @property
    def document(self) -> CalibrationDocument:
        """As it is kept in a folder, or in a plan."""
        return CalibrationDocument(constants_text(self.facts), anchors_text(self.fitted.anchors()))


def fit(
    rows: Sequence[RunObservation], command: str, today: date, data: str, base: CalibrationDocument | None = None
) -> UserCalibration:
    """Refit the shipped calibration to measured runs; tens suffice, since every parameter starts at its shipped value.

    Runs with absurd figures are left out and named; the residual of their engines, models and accelerators is learned.
    base: an own calibration that is refitted in place of the shipped one; its runs stay beside the new ones.

    Raises:
        InputError: no usable run is left.

    Three measured runs, seconds to the first token and per token:

    >>> from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> parts = (model("llama_3_1_8b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout())
    >>> replica = ModelReplica(*parts, EngineSettings.default(engine_facts("vllm")))
    >>> loads = ((1, 0.2, 0.014), (8, 0.3, 0.016), (32, 0.5, 0.02))
    >>> runs = [RunObservation(n, replica, 1024, 256, n, *took, "mine", f"m{n}") for n, *took in loads]
    >>> made = fit(runs, "by hand", date(2026, 11, 29), "mine.json")
    >>> made.fitted.rows, made.excluded.lines(), made.facts.data
    (3, [], 'mine.json')
    """
    excluded = ExclusionReport()
    good = [row for row in rows if not _bad(row, excluded)]
    believed, older = (base.facts, base.anchors) if base else (serving_facts(), anchors())
    runs = _own(_plausible(bank(good, excluded), believed, excluded))
    if not runs.observations:
        raise InputError(f"no usable run: {'; '.join(excluded.lines()) or 'the data hold none'}")
    fitted = fit_bank(runs, start(runs, believed), older, believed)
    about = replace(believed, date=today, command=command, data=data)
    return UserCalibration(fitted, _with_others(fitted.facts(about), believed), excluded, runs)


def _bad(row: RunObservation, excluded: ExclusionReport) -> bool:
    problems = [latency_problem("tpot", row.tpot_s), latency_problem("ttft", row.ttft_s)]
    if np.isnan(row.tpot_s) and np.isnan(row.ttft_s):
        problems.append("neither tpot nor ttft was measured")
    if min(row.input_tokens, row.output_tokens, row.concurrency) < 1:
        problems.append("tokens and clients must be at least 1")
    faults = [problem for problem in problems if problem]
    if faults:
        excluded.add(row.number, faults[0])
    return bool(faults)


def _own(runs: FeatureBank) -> FeatureBank:
    """The runs as the user's own server's, of one generation of its engine: plans are about it."""
    names = (ResidualIdentity.of(one.replica, own_run(one.replica.engine.generation)) for one in runs.observations)
    return replace(runs, identities=tuple(names))


def _plausible(runs: FeatureBank, believed: ServingFacts, excluded: ExclusionReport) -> FeatureBank:
    """The runs within a factor of 100 of the shipped physics; others were written in another unit."""
    if not runs.observations:
        return runs
    belief = start(runs, believed)
    model = RunLatencyModel.of(runs, belief.layout)
    ttft = np.log(runs.features.ttft_s) - model.ttft(belief.logs)
    tpot = np.log(runs.features.tpot_s) - model.tpot(belief.logs)
    kept = []
    for i, observation in enumerate(runs.observations):
        worst = np.nanmax(np.abs([ttft[i], tpot[i], 0.0]))
        if worst > np.log(UNIT_FACTOR):
            problem = f"a latency is over {UNIT_FACTOR:g} times off any physics: another unit, or a queue?"
            excluded.add(observation.number, problem)
        else:
            kept.append(i)
    return runs.take(np.array(kept, dtype=np.int64))


def _with_others(facts: ServingFacts, believed: ServingFacts) -> ServingFacts:
    """Parameters of engines the runs did not show stay as they were."""
    own = {(p.name, p.engine) for p in facts.parameters}
    kept = [p for p in believed.parameters if (p.name, p.engine) not in own]
    return replace(facts, parameters=tuple(sorted((*facts.parameters, *kept), key=lambda p: (p.name, p.engine))))
