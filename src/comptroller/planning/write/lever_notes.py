"""What a reader of a plan has to know of the levers that its deployments use, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.costs.adapters import adapter_bytes, load_s, miss_share, slot_bytes
from comptroller.costs.deployment import ModelReplica, SpeculativeDecoding
from comptroller.costs.eager import LAUNCH_S
from comptroller.costs.network import node_devices
from comptroller.costs.operations import BUSIEST
from comptroller.costs.speculation import tokens_per_step
from comptroller.costs.tiers import tier_bound_per_s, tokens_with_full_cache
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.services import ModelServices
from comptroller.work.demand import TrafficDemand
from comptroller.work.workload import Workload


def lever_notes(own: ModelServices) -> Iterator[str]:
    """The levers of the deployments of one model."""
    for service, deployment in zip(own.services, own.deployments, strict=True):
        if deployment.pools is not None:
            tokens = sum(part.input_tokens * part.rate_per_s * part.share for part in service.slices)
            mean = tokens / max(service.rate_per_s, 1e-12)
            moved_s = mean * deployment.pools.token_s
            yield (
                f"{service.id}: prefill and decode run apart ({deployment.pools.ratio}), a line of launch for each; it "
                f"needs a router that sends a request to one of both, and a network between them: the cache of a mean "
                f"prompt of {mean:,.0f} tokens takes {moved_s * 1e3:.3g} ms at the datasheet's rate, which nobody "
                "measured here"
            )
        yield from _clock_notes(service.id, deployment.replica)
        if deployment.replica.engine.eager:
            yield (
                f"{service.id}: kernels are launched one by one, {LAUNCH_S * 1e6:.0f} us each by two published hosts "
                "that differ by a factor of three; its interval says so, and it was chosen at the upper end of it"
            )
        yield from _cadence_notes(service, deployment.replica)
        yield from _offload_notes(service, deployment.replica)
        yield from _spread_notes(service.id, deployment.replica)
        yield from _draft_notes(service.id, deployment.replica.engine.speculation)
        replicas = sum(pool.replicas for pool in service.deployment.pools)
        yield from _adapter_notes(service.id, deployment.replica, service.rate_per_s / max(replicas, 1))


def prefix_notes(workload: Workload, traffic: TrafficDemand) -> Iterator[str]:
    """What is taken for granted of prompts that begin alike."""
    if traffic.cached_tokens is None:
        return
    tokens = traffic.sizes.weight * traffic.sizes.input_tokens
    share = float((traffic.sizes.weight * traffic.cached_tokens).sum() / tokens.sum())
    asked = workload.prefix
    if asked is not None:
        yield (
            f"prefixes: the first {asked.share:.0%} of a prompt are stated to be its group's, one of {asked.groups:,}; "
            f"the steady state finds {share:.0%} of all prompt tokens in caches, the simulation what replicas hold"
        )
    else:
        yield (
            f"prefixes: a cache without end would find {share:.0%} of the trace's prompt tokens, and the steady state "
            "does; the simulation finds what replicas hold, in draws of windows only what a window repeats"
        )


def tier_notes(workload: Workload, traffic: TrafficDemand) -> Iterator[str]:
    """What is taken for granted of a cache tier."""
    tier = workload.cache_tier
    if tier is not None:
        yield (
            f"cache_tier: of {traffic.working_tokens:,.0f} tokens of different beginnings of prompts the steady state "
            f"finds in a device's cache what it has room for, loads what fits into {tier.gb:g} GB of {tier.tier} at "
            "the datasheet's rate while other layers compute, and computes the rest; the simulation loads what "
            "replicas hold. The line of launch does not set the tier up, and nobody measured it here"
        )


def _draft_notes(name: str, drafts: SpeculativeDecoding | None) -> Iterator[str]:
    if drafts is not None:
        who = drafts.draft.id if drafts.draft else "n-grams of the sequence"
        made = tokens_per_step(drafts.acceptance, drafts.tokens)
        yield (
            f"{name}: speculative decoding drafts {drafts.tokens} tokens a step ({who}) and gets {made:.3g} at the "
            f"stated acceptance of {drafts.acceptance:g}, alike for all tokens; neither acceptance nor speed was "
            "measured here"
        )


def _cadence_notes(service: ServiceDocument, replica: ModelReplica) -> Iterator[str]:
    steps, tokens = replica.engine.poll_steps, replica.engine.stream_interval
    if steps > 1:
        yield (
            f"{service.id}: the scheduler looks for new requests every {steps} decode steps, so that a first token "
            "waits for a share of them that was fitted to servers told so; what the host saves by it is not modelled, "
            "and the simulation adds the mean wait to every first token"
        )
    if tokens > 1:
        gap_ms = tokens * service.tpot_s.value * 1e3
        yield (
            f"{service.id}: after the first token, which is sent alone, readers get {tokens} tokens at a time, "
            f"{gap_ms:.3g} ms apart; TPOT is the mean over a request, as benchmarks have it, and what the host saves "
            "is not modelled"
        )


def _offload_notes(service: ServiceDocument, replica: ModelReplica) -> Iterator[str]:
    offloaded, link = replica.engine.offload_bytes, replica.device.host
    if offloaded and link is not None:
        gib = offloaded / 2**30
        weight = sum(part.rate_per_s * part.share for part in service.slices)
        sizes = (
            sum(getattr(part, name) * part.rate_per_s * part.share for part in service.slices) / weight
            for name in ("input_tokens", "output_tokens")
        )
        full = tokens_with_full_cache(service.kv_capacity_tokens, *sizes)
        most, ever = (
            tier_bound_per_s(tokens, offloaded, link.one_way_bytes_per_s) for tokens in (max(service.batch, 1.0), full)
        )
        yield (
            f"{service.id}: {gib:.3g} GiB of each device's weights lie in the host's memory and are read through "
            f"its link in every step ({offloaded / link.one_way_bytes_per_s * 1e3:,.0f} ms by the datasheet's rate; of "
            f"experts those that tokens touch), which alone bounds a replica to {most:,.0f} tokens/s at its batch, and "
            f"to {ever:,.0f}, prompts counted, with its cache full of such requests (MoE-Lens); one published pair "
            " of measurements is met within 7 %"
        )


def _spread_notes(name: str, replica: ModelReplica) -> Iterator[str]:
    layout = replica.layout
    if layout.is_wide:
        nodes = -(-layout.stage_devices // node_devices(replica.device))
        yield (
            f"{name}: experts are spread over {layout.stage_devices} devices ({nodes} nodes), which exchange tokens in "
            f"two halves that take turns; the busiest device is taken to have {BUSIEST:g} times its share, links are "
            "those of the datasheet, and published rates of such systems are met within a fifth (docs/accuracy.md)"
        )


def _clock_notes(name: str, replica: ModelReplica) -> Iterator[str]:
    setting = replica.clock
    if setting is None:
        return
    options = [f"--lock-gpu-clocks=0,{setting.clock_hz / 1e6:.0f}"] if setting.clock_hz else []
    options += [f"--power-limit={setting.limit_w:.0f}"] if setting.limit_w else []
    how = f" (`nvidia-smi {' '.join(options)}` on each node)" if replica.device.vendor == "NVIDIA" else ""
    yield (
        f"{name}: devices run at {setting}{how}; what that costs in time and saves in watts follows from a law of "
        "clock and voltage that was fitted to stages of training on A100 and A40; nobody measured it for serving here"
    )


def _adapter_notes(name: str, replica: ModelReplica, rate_per_s: float) -> Iterator[str]:
    """rate_per_s: requests per second of one replica."""
    served = replica.engine.adapters
    if served is None:
        return
    yield (
        f"{name}: {served.resident} of {served.count} adapters of rank {served.rank} have slots in each replica, "
        f"{adapter_bytes(replica) / 1e6:.3g} MB each and {slot_bytes(replica) / 1e9:.3g} GB of a device together, "
        "reserved beside weights; their products are priced as matrices of that size, and nobody measured them here"
    )
    if missed := miss_share(served):
        host_gb = served.count * adapter_bytes(replica) * replica.layout.devices / 1e9
        yield (
            f"{name}: {missed:.1%} of the requests ({missed * rate_per_s:.3g}/s of a replica) are expected to find no "
            f"slot with their adapter, which then takes {load_s(replica) * 1e3:.3g} ms from the host's memory by the "
            f"datasheet's rate; the host keeps all {served.count} there ({host_gb:.3g} GB), popularity is as stated "
            f"(skew {served.skew:g}), and routers that send an adapter's requests to one replica would miss less"
        )
