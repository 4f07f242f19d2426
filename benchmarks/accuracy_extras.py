"""The rest of the accuracy table: learning curve, layout choice, overload, apart pools, coverage, speed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accuracy_folds import OURS, Errors, Held, Measured, fitted_on
from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.residual import ResidualIdentity, places
from comptroller.costs.steady import UniformRequests, prefill_time
from comptroller.costs.step import ReplicaStep
from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.measure.calibrate import OVERLOAD_S
from comptroller.measure.features import FeatureBank
from comptroller.measure.observations import RunObservation

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

STEPS = (0, 3, 10, 30)
LEAST_GROUPS = 40
REPEATS = 3


def learning_curve(runs: FeatureBank) -> dict[int, tuple[Errors, Errors]]:
    """Errors on an unseen (model, accelerator) after k of its own runs, for TPOT and TTFT.

    Each pair of at least 40 groups is left out with all groups it shares; k of its groups return, drawn by a seeded
    generator three times; the test is on groups that never return (the same for every k).
    """
    pair = np.array([f"{i.architecture} {i.accelerator}" for i in runs.identities])
    group = np.array([o.group for o in runs.observations])
    truth = Measured.of(runs)
    found: dict[int, list[tuple[Array, Array, Index]]] = defaultdict(list)
    for name in np.unique(pair):
        mine = np.flatnonzero(pair == name)
        names = np.unique(group[mine])
        if len(names) < LEAST_GROUPS:
            continue
        others = np.flatnonzero((pair != name) & ~np.isin(group, names))
        for repeat in range(REPEATS):
            order = np.random.default_rng(repeat).permutation(names)
            test = mine[~np.isin(group[mine], order[: STEPS[-1]])]
            for k in STEPS:
                known = mine[np.isin(group[mine], order[:k])]
                found[k].append(_at(runs, np.concatenate([others, known]), test))
    return {k: _joined(parts, truth) for k, parts in found.items()}


def _at(runs: FeatureBank, train: Index, test: Index) -> tuple[Array, Array, Index]:
    predicted = fitted_on(runs, train).predict(runs.take(test))
    return predicted.tpot, predicted.ttft, test


def _joined(parts: list[tuple[Array, Array, Index]], truth: Measured) -> tuple[Errors, Errors]:
    test = np.concatenate([part[2] for part in parts])
    tpot = np.concatenate([part[0] for part in parts], axis=1)
    ttft = np.concatenate([part[1] for part in parts], axis=1)
    return Errors.of(tpot, truth.tpot_s[test]), Errors.of(ttft, truth.ttft_s[test])


@dataclass(frozen=True)
class Regret:
    """Loss of the layout we would choose against the best measured, in per cent of its throughput per device."""

    choices: int
    mean: float
    best_chosen: float


def layout_regret(runs: FeatureBank, held: Held) -> Regret:
    """Choices among layouts measured under one engine, model, formats, accelerator, version, day, lengths, clients.

    We choose by the held-out prediction of output tokens per second and device; repeats count at their median.
    """
    measured, predicted = _per_device(runs, held)
    rows: dict[tuple[object, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in held.tested:
        o, identity = runs.observations[i], runs.identities[i]
        if np.isfinite(measured[i] + predicted[i]):
            load = (o.input_tokens, o.output_tokens, o.concurrency)
            rows[identity, load][str(o.replica.layout)].append(int(i))
    losses = []
    for layouts in rows.values():
        if len(layouts) < 2:
            continue
        true = {name: float(np.median(measured[index])) for name, index in layouts.items()}
        ours = {name: float(np.median(predicted[index])) for name, index in layouts.items()}
        losses.append(1.0 - true[max(ours, key=lambda name: ours[name])] / max(true.values()))
    values = np.array(losses)
    return Regret(len(values), 100 * float(values.mean()), 100 * float((values == 0).mean()))


def _per_device(runs: FeatureBank, held: Held) -> tuple[Array, Array]:
    devices = np.array([o.replica.layout.devices for o in runs.observations])
    output, clients = runs.features.output_tokens, runs.features.clients

    def rate(ttft: Array, tpot: Array) -> Array:
        return np.asarray(clients * output / (ttft + (output - 1) * tpot) / devices)

    return (
        rate(runs.features.ttft_s, runs.features.tpot_s),
        rate(np.exp(held.ttft[OURS][0]), np.exp(held.tpot[OURS][0])),
    )


@dataclass(frozen=True)
class Overload:
    """Time to first token above 20 s: how many there were, were foreseen, and were called without being so."""

    overloaded: int
    foreseen: int
    false_alarms: int
    sound: int


def overload(runs: FeatureBank, held: Held) -> Overload:
    """Held-out recall and false alarms."""
    rows = held.tested[np.isfinite(runs.features.ttft_s[held.tested])]
    true = runs.features.ttft_s[rows] > OVERLOAD_S
    called = np.exp(held.ttft[OURS][0][rows]) > OVERLOAD_S
    return Overload(int(true.sum()), int((true & called).sum()), int((called & ~true).sum()), int((~true).sum()))


def apart(observations: Sequence[RunObservation], runs: FeatureBank) -> tuple[int, Errors, Errors]:
    """Pools apart: how many state their batches, and errors of TPOT and TTFT.

    The calibration is fitted on the aggregated runs. Decoding has no prefill beside it. The prompts of all decode
    replicas' requests queue at the prefill pool: at most as fast as it serves them, else like M/D/1.
    """
    fitted = fitted_on(runs, np.arange(len(runs.observations)))
    calibration = FittedCalibration(fitted.facts(ReplicaPredictor.shipped().facts))
    tpot, ttft, each, first = [], [], [], []
    for o in observations:
        try:
            one, two = _apart(o, calibration)
        except UnsupportedError:
            continue
        tpot.append(one)
        ttft.append(two)
        each.append(o.tpot_s)
        first.append(o.ttft_s if o.ttft_s <= OVERLOAD_S else np.nan)
    return len(tpot), Errors.of(np.log(tpot), np.array(each)), Errors.of(np.log(ttft), np.array(first))


def _apart(o: RunObservation, calibration: FittedCalibration) -> tuple[float, float]:
    if o.prefill is None:
        raise UnsupportedError(f"row {o.number} has no prefill pool")
    ready, front = replica_timer(o.replica, calibration), replica_timer(o.prefill, calibration)
    context = o.input_tokens + o.output_tokens / 2
    tpot = float(ready.step(ReplicaStep.decode(o.concurrency, o.concurrency * context)).total_s[0])
    prompt = float(prefill_time(front, np.array([o.input_tokens])).total_s[0])
    servers, decoders = (max(n, 1) for n in o.pools)
    clients = o.concurrency * decoders
    capacity = servers * o.prefill.layout.dp / prompt
    stay = o.output_tokens * tpot
    rate = min(clients / (stay + prompt), 0.98 * capacity)
    load = rate / capacity
    queue = load / (2 * (1 - load)) * prompt / servers
    closed = max(clients / rate - stay - prompt, 0.0)
    serving = front.serving
    return tpot, serving.host_s + serving.prefill * prompt + max(queue, closed) + serving.steps * tpot


@dataclass(frozen=True)
class Speed:
    """CPU milliseconds of one point from names to figures; CPU microseconds of a point in an array of 1,000."""

    one_ms: float
    door_ms: float
    many_us: float
    many_with_residual_us: float


def speed(points: int = 1000) -> Speed:
    """Qwen3-32B on four H100 under vLLM: a point alone, at the door with its interval, and in arrays."""
    engine = EngineSettings.default(engine_facts("vllm"))
    replica = ModelReplica(model("qwen3_32b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(4), engine)
    predictor = ReplicaPredictor.shipped()
    one = np.array([1024.0])

    def alone() -> None:
        closed_loop(replica_timer(replica, predictor.calibration), memory(replica), UniformRequests(one, one), 64.0)

    ready, held = replica_timer(replica, predictor.calibration), memory(replica)
    lengths, clients = np.full(points, 1024.0), np.linspace(1, 256, points)
    at = places(replica, clients, lengths, lengths)

    def many() -> None:
        closed_loop(ready, held, UniformRequests(lengths, lengths), clients)

    def corrected() -> None:
        many()
        predictor.tpot.mean(ResidualIdentity.of(replica), at)

    door = ClosedLoopLoad(one, one, np.array([64.0]))
    return Speed(
        1e3 * _best(alone, 100),
        1e3 * _best(lambda: predictor.predict(replica, door), 100),
        1e6 * _best(many, 30) / points,
        1e6 * _best(corrected, 30) / points,
    )


def _best(action: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the median repeat."""
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        action()
        taken.append(time.process_time() - begin)
    return float(np.median(taken))
