"""Whether a model fits on a device: the arithmetic of memory, requests at once, how fast they are, what would help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import (
    ReplicaMemory,
    cache_room_bytes,
    kv_bytes_per_token,
    memory,
    sliding_caches,
    state_bytes_per_sequence,
    total_bytes,
    weight_bytes,
)
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.reserve import around_bytes, graph_bytes, peak_bytes
from comptroller.costs.steady import UniformRequests, batch_that_fits
from comptroller.errors import InputError, InsufficientMemoryError, UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.engine import EngineFacts, engine_facts
from comptroller.facts.format import format_
from comptroller.facts.model import LatentAttention, Model, SoftmaxAttention
from comptroller.facts.reader import ids
from comptroller.launch import launchable
from comptroller.planning.offer.deployments import RejectionTally, recipes, serves
from comptroller.planning.offer.layouts import layouts
from comptroller.planning.offer.replica_speed import RequestSpeed, request_speeds, require_scope

USUAL_ENGINE = "vllm"
"""The engine that is asked about where none is named, on the devices that it serves."""

FEWER_SEQUENCES = (256, 64, 16)
"""Sequences in a step that are tried where the sampler of a full batch is what does not fit: each a quarter of the one
before. At twice as many, another step would be found at most."""

_WITH_HEADS = (SoftmaxAttention, LatentAttention)


@dataclass(frozen=True, slots=True)
class FitQuery:
    """A replica, the requests that it is to serve, and the longest context that its server accepts.

    context_tokens: None is as long as fits, at most the model's.
    """

    replica: ModelReplica
    input_tokens: int
    output_tokens: int
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens", "context_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; allowed: 1 and more")
        if self.least_tokens > self.replica.model.context_tokens:
            raise InputError(
                f"{self.least_tokens:,} tokens of context are more than the {self.replica.model.context_tokens:,} of "
                f"{self.replica.model.id}"
            )
        if self.context_tokens and self.context_tokens < self.input_tokens + self.output_tokens:
            raise InputError(
                f"a context of {self.context_tokens:,} tokens does not hold a request of {self.input_tokens:,} + "
                f"{self.output_tokens:,}"
            )

    @property
    def least_tokens(self) -> int:
        """The context that must fit: what is asked for, or one request."""
        return self.context_tokens or self.input_tokens + self.output_tokens

    @property
    def requests(self) -> UniformRequests:
        """The requests, one point."""
        return UniformRequests(np.array([float(self.input_tokens)]), np.array([float(self.output_tokens)]))


@dataclass(frozen=True, slots=True)
class MemoryBreakdown:
    """Where the memory of a device goes, in bytes.

    total: what the engine sees.  room: left for caches and states.  peak: of its largest step or of sampling a full
    batch.  kv_per_token, windows (tokens, bytes per token), state: of one sequence.  sequence: one request of the query
    at its mean context.
    """

    total: float
    weights: float
    peak: float
    graphs: float
    framework: float
    room: float
    kv_per_token: float
    windows: tuple[tuple[int, float], ...]
    state: float
    sequence: float

    @classmethod
    def of(cls, query: FitQuery) -> MemoryBreakdown:
        """The arithmetic, whether or not it fits."""
        replica, context = query.replica, float(query.requests.mean_context_tokens[0])
        per_token, state = kv_bytes_per_token(replica), state_bytes_per_sequence(replica)
        windows = tuple((window.window_tokens, window.bytes_per_token) for window in sliding_caches(replica))
        sequence = per_token * context + sum(size * min(context, most) for most, size in windows) + state
        return cls(
            total=total_bytes(replica.device),
            weights=weight_bytes(replica),
            peak=peak_bytes(replica),
            graphs=graph_bytes(replica),
            framework=around_bytes(replica),
            room=cache_room_bytes(replica),
            kv_per_token=per_token,
            windows=windows,
            state=state,
            sequence=sequence,
        )


@dataclass(frozen=True, slots=True)
class FitRemedy:
    """One change that makes it fit, with what fits then."""

    change: str
    replica: ModelReplica
    requests: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class FitAnswer:
    """Whether it fits, and if not why not.

    requests: that fit at once, at most the engine's `max_batch`.  context_tokens: the longest that a server can be
    started with, 0 where nothing fits.  speeds: of one request, and of as many as fit.
    """

    query: FitQuery
    breakdown: MemoryBreakdown
    reason: str
    requests: int
    context_tokens: int
    speeds: tuple[RequestSpeed, ...]
    remedies: tuple[FitRemedy, ...]

    @property
    def fits(self) -> bool:
        """Whether a server would start and hold a request."""
        return not self.reason


def replica_to_check(
    model: Model, device: Accelerator, layout: ParallelLayout, engine: str = "", formats: tuple[str, str] = ("", "")
) -> ModelReplica:
    """The replica that is asked about, with the engine's defaults.

    formats: ids of the weights' and of the cache's format; empty is the checkpoint's, and 16 bit.

    Raises:
        InputError: the model cannot be cut like that.
        UnsupportedError: no engine serves on the device, or the device cannot run the formats.
    """
    if device.what_if and device.what_if.never:
        raise UnsupportedError(f"{device.id}: {device.what_if.never}")
    facts = engine_facts(engine) if engine else _usual_engine(device)
    asked = _recipe(model, device, *formats)
    recipe = _as_launched(facts, model, device, asked) or asked
    if not serves(facts, device):
        if device.what_if:
            raise UnsupportedError(f"{device.id} is given the costs of {device.what_if.engine}, not of {facts.id}")
        raise UnsupportedError(f"{facts.id} does not serve on {device.vendor} devices; on {', '.join(facts.vendors)}")
    heads = min((block.mixer.heads for block in model.blocks if isinstance(block.mixer, _WITH_HEADS)), default=0)
    if heads % layout.tp or layout.pp > model.layers or (layout.ep > 1 and not model.is_moe):
        raise InputError(
            f"layout {layout} does not cut {model.id}: tp divides its {heads} heads, pp is at most its {model.layers} "
            "layers, ep is for mixtures of experts"
        )
    return ModelReplica(model, device, recipe, layout, EngineSettings.default(facts))


def check_fit(query: FitQuery, calibration: TimingCalibration) -> FitAnswer:
    """Memory, requests at once and speed of a replica; where it does not fit, what would make it.

    Raises:
        InputError: the calibration was measured for something else; says for what.
        UnsupportedError: the device cannot run the formats, or its facts lack a link that the layout needs.

    >>> from comptroller.costs.fitted_calibration import FittedCalibration
    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> replica = replica_to_check(model("llama_3_1_70b"), accelerator("h100_sxm"), ParallelLayout())
    >>> check_fit(FitQuery(replica, 1000, 100), FittedCalibration.shipped()).reason.partition(" by ")[0]
    'short'
    """
    replica = query.replica
    require_scope(calibration, replica)
    breakdown, held, reason = MemoryBreakdown.of(query), None, ""
    try:
        held = memory(replica)
    except InsufficientMemoryError as error:
        reason = f"short by {error.short_bytes / 1e9:.2f} GB"
    if held is None:
        return FitAnswer(query, breakdown, reason, 0, 0, (), tuple(_remedies(query)))
    requests, longest = _requests(query, held), _longest(query, held)
    if longest < query.least_tokens:
        reason = f"the cache holds {longest:,} tokens of one sequence, not {query.least_tokens:,}"
        return FitAnswer(query, breakdown, reason, 0, longest, (), tuple(_remedies(query)))
    speeds = request_speeds(replica, calibration, (query.input_tokens, query.output_tokens), requests)
    return FitAnswer(query, breakdown, "", requests, longest, speeds, ())


def _usual_engine(device: Accelerator) -> EngineFacts:
    serving = [facts for facts in map(engine_facts, ids("engines")) if serves(facts, device)]
    if not serving:
        raise UnsupportedError(f"no engine that is known serves on {device.vendor} devices ({device.id})")
    return next((facts for facts in serving if facts.id == USUAL_ENGINE), serving[0])


def _recipe(model: Model, device: Accelerator, weights: str, cache: str) -> PrecisionRecipe:
    """The first recipe of these formats, the checkpoint's where none is named."""
    tally = RejectionTally()
    own = recipes(model, device, (), tally)
    found = recipes(model, device, (weights,), tally) if weights else own
    usable = [one for one in found if weights or (one.weights, one.experts) == _own_formats(model, one)]
    if not usable:
        raise UnsupportedError(f"{device.id} cannot run {weights or model.weights} weights: {tally}")
    recipe = next((one for one in usable if one.kv in {"bf16", "fp16"}), usable[0])
    if cache and "kv" not in format_(cache).roles:
        raise InputError(f"format {cache} cannot hold a cache; it serves for {', '.join(format_(cache).roles)}")
    return replace(recipe, kv=cache) if cache else recipe


def _as_launched(
    engine: EngineFacts | EngineSettings, model: Model, device: Accelerator, recipe: PrecisionRecipe
) -> PrecisionRecipe | None:
    """The recipe as the engine runs it; `None` where it is not known to."""
    try:
        return launchable(engine, model, device, recipe)
    except UnsupportedError:
        return None


def _own_formats(model: Model, recipe: PrecisionRecipe) -> tuple[str, str]:
    """The checkpoint's formats, its 16-bit ones as the device's."""
    wide = {"bf16", "fp16"}
    pairs = ((model.weights, recipe.weights), (model.experts, recipe.experts))
    own = (used if mine in wide and used in wide else mine for mine, used in pairs)
    weights, experts = own
    return weights, experts if model.is_moe else recipe.experts


def _requests(query: FitQuery, held: ReplicaMemory) -> int:
    return int(batch_that_fits(held, query.requests, query.replica.engine.max_batch)[0])


def _longest(query: FitQuery, held: ReplicaMemory) -> int:
    """The longest context in whole blocks, at most the model's."""
    longest, block = query.replica.model.context_tokens, query.replica.engine.kv_block_tokens
    return longest if held.longest_tokens >= longest else int(held.longest_tokens // block) * block


def _remedies(query: FitQuery) -> Iterator[FitRemedy]:
    """Single changes that make it fit, the first of each kind."""
    for kind in (_shorter, _fewer_sequences, _narrower_cache, _narrower_weights, _more_devices):
        found = (_remedy(change, changed) for change, changed in kind(query))
        first = next((remedy for remedy in found if remedy), None)
        if first:
            yield first


def _remedy(change: str, query: FitQuery) -> FitRemedy | None:
    try:
        held = memory(query.replica)
    except InsufficientMemoryError:
        return None
    requests, longest = _requests(query, held), _longest(query, held)
    if requests < 1 or longest < query.least_tokens:
        return None
    return FitRemedy(change, query.replica, requests, longest)


Changes = Iterator[tuple[str, FitQuery]]


def _shorter(query: FitQuery) -> Changes:
    try:
        longest = _longest(query, memory(query.replica))
    except InsufficientMemoryError:
        return
    if query.context_tokens and longest >= query.input_tokens + query.output_tokens:
        yield f"a context of {longest:,} tokens", replace(query, context_tokens=longest)


def _fewer_sequences(query: FitQuery) -> Changes:
    engine = query.replica.engine
    for most in FEWER_SEQUENCES:
        if most < engine.max_batch:
            changed = replace(query.replica, engine=replace(engine, max_batch=most))
            yield f"at most {most} sequences in a step", replace(query, replica=changed)


def _narrower_cache(query: FitQuery) -> Changes:
    replica = query.replica
    for one in recipes(replica.model, replica.device, (replica.recipe.weights, "fp8_e4m3"), RejectionTally()):
        if format_(one.kv).bits_per_element < replica.formats.kv.bits_per_element:
            changed = replace(replica, recipe=replace(replica.recipe, kv=one.kv))
            yield f"a cache in {one.kv}", replace(query, replica=changed)


def _narrower_weights(query: FitQuery) -> Changes:
    """Formats that the engine loads there, the widest first."""
    replica, wide = query.replica, weight_bytes(query.replica)
    names = tuple(name for name in ids("formats") if "weights" in format_(name).roles)
    found = recipes(replica.model, replica.device, names, RejectionTally())
    distinct = dict.fromkeys(replace(one, kv=replica.recipe.kv) for one in found)
    changed = [replace(replica, recipe=recipe) for recipe in distinct]
    changed = [one for one in changed if _as_launched(replica.engine, one.model, one.device, one.recipe)]
    ordered = sorted(changed, key=lambda one: (-weight_bytes(one), str(one.recipe)))
    for one in ordered:
        if weight_bytes(one) < wide:
            words = dict.fromkeys((one.recipe.weights, one.recipe.experts))
            yield f"weights in {' + '.join(words)}", replace(query, replica=one)


def _more_devices(query: FitQuery) -> Changes:
    replica = query.replica
    for layout in layouts(replica.model, replica.device):
        if layout.devices > replica.layout.devices:
            yield f"{layout.devices} devices, {layout}", replace(query, replica=replace(replica, layout=layout))
