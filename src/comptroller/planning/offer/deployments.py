"""The space of choices: every way a model could be served, and why the others fall out at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from comptroller.costs.deployment import (
    AdapterSet,
    ClockSetting,
    EngineSettings,
    ModelReplica,
    PrecisionRecipe,
    PrefixStore,
    SpeculativeDecoding,
    arithmetic,
)
from comptroller.costs.memory import ReplicaMemory, memory
from comptroller.errors import InsufficientMemoryError, UnsupportedError, UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.config import listed_checkpoints
from comptroller.facts.engine import EngineFacts
from comptroller.facts.format import Format
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.model import Model
from comptroller.facts.site import COMPANIES, EVERYBODY, AcceleratorOffer, SellerAllowlist, Site, Term
from comptroller.launch import (
    adapter_words,
    cadence_words,
    eager_words,
    launchable,
    layout_problem,
    offload_words,
    speculation_words,
)
from comptroller.planning.ground.nouns import Deployment
from comptroller.planning.offer.engine_choices import (
    settings_refusal,
    with_adapters,
    with_cadence,
    with_clocks,
    with_eager,
    with_offload,
)
from comptroller.planning.offer.layouts import layouts, spread_refusal, wide_layouts
from comptroller.planning.offer.split_groups import PoolGroups, split_groups, split_refusal

NEAR_LOSSLESS = ("fp8_e4m3",)
"""Formats tried when the workload names none, beside those of the checkpoint and the device's 16-bit one: what
fewer bits lose on a given model has to be measured, not assumed."""


@dataclass(frozen=True, slots=True)
class DeploymentSpace:
    """What may be chosen; every axis in the order given, which also breaks ties.

    library: of the formats.  what_if: also what no engine is known to launch.  mixed, split: whether replicas do both
    prefill and decode, or may do one of them.  drafts: speculative decoding that may be used.  chunk_tokens: budgets of
    a step with prompts, beside the engine's own.  kv_formats: of the cache, if named.
    sellers: of whom may be rented.  adapters: sets of which every replica serves one; without slots, in as many as
    fit.  clocks: locked clocks and power limits that are tried beside devices as they are delivered.
    expert_devices: numbers of devices over which experts may be spread.  offload_bytes: of each device's weights, that
    may lie in the host's memory.  eager: whether replicas may run without captured graphs.  prefix_store: tier of
    every replica for beginnings of prompts.  poll_steps, stream_intervals: in place of the engine's own, if named.
    """

    models: tuple[Model, ...]
    accelerators: tuple[Accelerator, ...]
    engines: tuple[EngineFacts, ...]
    sites: tuple[Site, ...]
    terms: tuple[Term, ...]
    formats: tuple[str, ...] = ()
    on: date | None = None
    library: FactLibrary = SHIPPED
    what_if: bool = False
    mixed: bool = True
    split: bool = False
    drafts: tuple[SpeculativeDecoding, ...] = ()
    chunk_tokens: tuple[int, ...] = ()
    kv_formats: tuple[str, ...] = ()
    sellers: SellerAllowlist = COMPANIES
    adapters: tuple[AdapterSet, ...] = ()
    clocks: tuple[ClockSetting, ...] = ()
    expert_devices: tuple[int, ...] = ()
    offload_bytes: tuple[float, ...] = ()
    eager: bool = False
    prefix_store: PrefixStore | None = None
    poll_steps: tuple[int, ...] = ()
    stream_intervals: tuple[int, ...] = ()


@dataclass(slots=True)
class RejectionTally:
    """Choices that fell out before any search: how many by reason, and one example each."""

    count: Counter[str] = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)
    nearest: dict[str, float] = field(default_factory=dict)

    def add(self, reason: str, detail: str, distance: float = 0.0) -> None:
        """Count one; the example kept is the one that missed by the least `distance`."""
        self.count[reason] += 1
        if distance < self.nearest.get(reason, float("inf")):
            self.nearest[reason], self.example[reason] = distance, detail

    def merge(self, other: RejectionTally) -> None:
        """Count what another counted, as if it had been added here."""
        self.count += other.count
        for reason, distance in other.nearest.items():
            if distance < self.nearest.get(reason, float("inf")):
                self.nearest[reason], self.example[reason] = distance, other.example[reason]

    def __str__(self) -> str:
        lines = (f"{reason} ({count}): {self.example[reason]}" for reason, count in sorted(self.count.items()))
        return "; ".join(lines) or "nothing is allowed"


def enumerate_deployments(space: DeploymentSpace, rejected: RejectionTally) -> Iterator[Deployment]:
    """Every deployment that has a price, runs its formats and fits its memory."""
    for device in space.accelerators:
        places = list(_places(space, device, rejected))
        engines = [x for x in space.engines if serves(x, device)]
        if places and not engines and device.what_if:
            rejected.add("no engine", f"{device.id} is given the costs of {device.what_if.engine}: allow.engines")
        elif places and not engines:
            rejected.add("no engine", f"no allowed engine serves on {device.vendor} devices ({device.id})")
        offers: dict[int, list[tuple[Site, AcceleratorOffer]]] = {}
        for facts in engines if places else ():
            for model in space.models:
                for replica in _on_device(model, device, facts, space, rejected):
                    count = replica.layout.devices
                    if count not in offers:
                        offers[count] = list(_offers(space, places, device, count, rejected))
                    yield from _at_offers(replica, facts, offers[count], _groups(replica, space, rejected))


def serves(facts: EngineFacts, device: Accelerator) -> bool:
    """Whether an engine serves on a device; a what-if is given the costs of the engine that it names."""
    return facts.id == device.what_if.engine if device.what_if else device.vendor in facts.vendors


def _at_offers(
    replica: ModelReplica, facts: EngineFacts, offers: Sequence[tuple[Site, AcceleratorOffer]], groups: PoolGroups
) -> Iterator[Deployment]:
    """A replica, or groups of it, at every offer."""
    engine, held = replica.engine, _memory_of(replica)
    chunk = None if engine.chunk_tokens == facts.chunk_tokens else engine.chunk_tokens
    for site, offer in offers:
        yield from (Deployment(replica, held, site, offer, group, chunk) for group in groups)


def _groups(replica: ModelReplica, space: DeploymentSpace, rejected: RejectionTally) -> PoolGroups:
    """The ways in which prefill and decode may share replicas: `None` where each does both."""
    mixed: PoolGroups = [None] if space.mixed else []
    if replica.engine.speculation is not None or not space.split:
        return mixed
    if reason := split_refusal(replica):
        rejected.add("cannot split", reason)
        return mixed
    return [*mixed, *split_groups(replica, _memory_of(replica))]


def _places(space: DeploymentSpace, device: Accelerator, rejected: RejectionTally) -> Iterator[tuple[Site, Term]]:
    """Sites and terms with an offer of an accelerator."""
    if device.what_if and device.what_if.never:
        rejected.add("cannot serve", f"{device.id}: {device.what_if.never}")
        return
    is_offered = False
    for site in space.sites:
        for term in space.terms:
            if site.in_force(device.id, term, space.on, space.sellers):
                yield site, term
                is_offered = True
    if not is_offered:
        rejected.add("no offer", f"no allowed site offers {device.id} on allowed terms{_other_sellers(space, device)}")


def _other_sellers(space: DeploymentSpace, device: Accelerator) -> str:
    """Who would offer a device, were he allowed."""
    asked = [(site, term) for site in space.sites for term in space.terms]
    found = {item.provider for site, term in asked for item in site.in_force(device.id, term, space.on, EVERYBODY)}
    return f", but {', '.join(sorted(found))} would (allow.providers, allow.kinds)" if found else ""


def _offers(
    space: DeploymentSpace,
    places: Sequence[tuple[Site, Term]],
    device: Accelerator,
    devices: int,
    rejected: RejectionTally,
) -> Iterator[tuple[Site, AcceleratorOffer]]:
    """All offers that no other undercuts, of so many joined devices."""
    for site, term in places:
        offers = site.offers_for(device, term, devices, space.on, space.sellers)
        yield from ((site, offer) for offer in offers)
        if not offers:
            rejected.add("no such instance", f"{site.id} rents no {devices} joined {device.id} ({term})")


def _memory_of(replica: ModelReplica) -> ReplicaMemory:
    return memory(replica)


def _on_device(
    model: Model, device: Accelerator, facts: EngineFacts, space: DeploymentSpace, rejected: RejectionTally
) -> Iterator[ModelReplica]:
    for count in space.expert_devices:
        if reason := spread_refusal(model, device, count):
            rejected.add("cannot be spread", reason)
    cuts = (*layouts(model, device), *wide_layouts(model, device, space.expert_devices))
    for recipe in _launchable_recipes(model, device, facts, space, rejected):
        fitted = False
        for layout in cuts:
            if layout.pp > 1 and fitted and layout.devices > device.node_devices:
                continue
            engine = replace(EngineSettings.default(facts), prefix_store=space.prefix_store)
            replica = ModelReplica(model, device, recipe, layout, engine, space.library)
            if not space.what_if and (problem := layout_problem(facts.launched_as, layout)):
                rejected.add("cannot be launched", f"{model.id} on {device.id}: {problem}")
                continue
            for stored in with_offload(replica, space.offload_bytes):
                try:
                    _memory_of(stored)
                except InsufficientMemoryError as error:
                    rejected.add("does not fit", str(error), error.short_bytes)
                    continue
                fitted = True
                yield from _with_settings(stored, space, rejected)


def _with_settings(replica: ModelReplica, space: DeploymentSpace, rejected: RejectionTally) -> Iterator[ModelReplica]:
    """The replica with every combination of the settings that a space allows."""
    for plain in (replica, *_with_chunks(replica, space, rejected)):
        for one in with_adapters(plain, space.adapters):
            for clocked in with_clocks(one, space.clocks):
                for launched in with_eager(clocked, space.eager):
                    for told in with_cadence(launched, space.poll_steps, space.stream_intervals):
                        yield from _with_drafts(told, space, rejected)


def _with_chunks(replica: ModelReplica, space: DeploymentSpace, rejected: RejectionTally) -> Iterator[ModelReplica]:
    """The replica with each other budget of a step that holds prompts which fits its memory."""
    for tokens in dict.fromkeys(space.chunk_tokens):
        other = replace(replica, engine=replace(replica.engine, chunk_tokens=tokens))
        if tokens == replica.engine.chunk_tokens:
            continue
        try:
            _memory_of(other)
        except InsufficientMemoryError as error:
            rejected.add("does not fit", str(error), error.short_bytes)
        else:
            yield other


def _with_drafts(replica: ModelReplica, space: DeploymentSpace, rejected: RejectionTally) -> Iterator[ModelReplica]:
    """The replica without and with each kind of speculative decoding that it can be priced and launched with."""
    if not _is_ready(replica, space, rejected):
        return
    yield replica
    for drafts in space.drafts:
        other = replace(replica, engine=replace(replica.engine, speculation=drafts))
        if _is_ready(other, space, rejected):
            yield other


def _is_ready(replica: ModelReplica, space: DeploymentSpace, rejected: RejectionTally) -> bool:
    """Whether a replica can be priced and launched with its settings, and fits with them."""
    if refused := settings_refusal(replica):
        rejected.add(*refused)
        return False
    engine = replica.engine
    try:
        _memory_of(replica)
        if not space.what_if:
            adapter_words(engine), speculation_words(engine), offload_words(engine), eager_words(engine)
            cadence_words(replica)
    except InsufficientMemoryError as error:
        rejected.add(
            "does not fit", f"{engine.adapters}: {error}" if engine.adapters else str(error), error.short_bytes
        )
        return False
    except UnsupportedError as error:
        rejected.add("cannot be launched", str(error))
        return False
    return True


def _launchable_recipes(
    model: Model, device: Accelerator, facts: EngineFacts, space: DeploymentSpace, rejected: RejectionTally
) -> Iterator[PrecisionRecipe]:
    """Recipes as an engine launches them; where the space asks what if, those too that it is not known to launch."""
    for recipe in recipes(model, device, space.formats, rejected, space.library, space.kv_formats):
        try:
            yield launchable(facts, model, device, recipe, space.library)
        except UnsupportedError as error:
            if space.what_if:
                yield recipe
            else:
                rejected.add("cannot be launched", f"{model.id}, {recipe}: {error}")


def recipes(
    model: Model,
    device: Accelerator,
    allowed: Sequence[str],
    rejected: RejectionTally,
    library: FactLibrary = SHIPPED,
    kv_formats: Sequence[str] = (),
) -> tuple[PrecisionRecipe, ...]:
    """Recipes of a model that a device can run, of the allowed formats.

    Without a list: the checkpoint's own formats and the near-lossless ones. Weights whose arithmetic the device
    multiplies natively take activations in the same format, others 16-bit ones; the cache is in a format of
    `kv_formats`, or 16-bit, or fp8 if allowed. Experts take the weights' format, or the mix of the checkpoint or of a
    listed repository.
    """
    wide = _wide(device)
    if wide is None:
        rejected.add("no 16-bit rate", f"{device.id} has no 16-bit matrix rate")
        return ()
    own = tuple(wide if x in {"bf16", "fp16"} else x for x in (model.weights, model.experts))
    names = tuple(allowed) or tuple(dict.fromkeys((*own, wide, *NEAR_LOSSLESS)))
    caches = [wide if x in {"bf16", "fp16"} else x for x in kv_formats] or [
        wide,
        *(x for x in names if x != wide and "kv" in library.format(x).roles and _is_eight_bit(library.format(x))),
    ]
    runnable: list[PrecisionRecipe] = []
    pairs = [(name, name) for name in names if "weights" in library.format(name).roles]
    if model.is_moe:
        shipped = [own, *((x.weights, x.experts) for x in listed_checkpoints(model.id))]
        mixes = [tuple(wide if x in {"bf16", "fp16"} else x for x in pair) for pair in shipped]
        pairs += [(first, second) for first, second in mixes if first != second and {first, second} <= set(names)]
    for weights, experts in pairs:
        try:
            activations = _activations(library.format(experts), device, wide)
            arithmetic(library.format(weights), library.format(activations), device)
            arithmetic(library.format(experts), library.format(activations), device)
        except UnsupportedFormatError as error:
            rejected.add("no such rate", str(error))
            continue
        runnable.extend(PrecisionRecipe(weights, experts, activations, kv) for kv in caches)
    return tuple(dict.fromkeys(runnable))


def _wide(device: Accelerator) -> str | None:
    rates = {str(rate) for rate in device.peak_flops_per_s}
    return next((name for name in ("bf16", "fp16") if name in rates), None)


def _is_eight_bit(entry: Format) -> bool:
    return 7.9 < entry.bits_per_element < 8.6 and entry.element.kind == "float"


def _activations(weights: Format, device: Accelerator, wide: str) -> str:
    native = "activations" in weights.roles and weights.support(device) == "native"
    return weights.id if native else wide
