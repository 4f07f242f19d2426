"""Start-up of a replica: a machine, its image, the weights, and the engine's warm-up, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import weight_bytes
from comptroller.costs.network import node_devices
from comptroller.errors import InputError, UnsupportedError

BOOT_S = 100.0
"""Until a cloud's machine with devices runs: 80 to 120 s (Tensorfuse, blog on lazy loading of images, 24 August 2025).
At twice this a start-up of an 8 B model takes half as long again."""

IMAGE_BYTES = 10e9
"""Of an engine's container image: those of vLLM, SGLang and TensorRT-LLM exceed 10 GB (Tensorfuse, blog on
snapshotters)."""

IMAGE_BYTES_PER_S = 25e6
"""Pulled and unpacked by containerd's overlayfs: 10 GB in 7 to 10 minutes (Tensorfuse), 13 GB in 571 s (Vertexcover),
20.2 GB in 8 to 10 minutes (BentoML, 11 April 2025): 20, 23 and 37 MB/s. Uncompressed images on fast disks reach 320."""

DISK_BYTES_PER_S = 2.0e9
"""Weights from an attached volume into a device: Llama 3 8B, 15 GB, in 7.5 s from an IO2 volume and in 14 s from a GP3
one, by the Run:ai streamer with 8 and 16 threads; 48 s by the default loader of safetensors (NVIDIA, developer blog of
16 September 2025)."""

OBJECT_STORE_BYTES_PER_S = 0.53e9
"""A node's weights from an object store: Llama 2 70B, 140 GB, in 4 min 25 s with the usual tools on a machine of four
25 Gbit/s cards; 20 s when streamed (Anyscale, 27 September 2023)."""

LAYER_WARM_UP_S = 1.4
"""Of a layer: compilation, memory profile, capture of graphs. vLLM's logs: 39.3 s for the 32 layers of Llama 3 8B (pull
request 11005), 145 s for the 80 of Llama 70B in fp8 on 8 devices (issue 19824), 34.1 s for the 28 of Llama 3.2 3B
(issue 20264): 1.2, 1.8 and 1.2 s. Each by the other two is met within 32 %."""

EAGER_LAYER_WARM_UP_S = 0.13
"""Without compilation and graphs: of the 14.2 s that Llama 3 8B then takes, 10 are capture (pull request 11005)."""


@dataclass(frozen=True, slots=True)
class StartUpTime:
    """Seconds from the decision for a replica until it takes calls, by what they pass with."""

    boot_s: float
    image_s: float
    weights_s: float
    warm_up_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.boot_s + self.image_s + self.weights_s + self.warm_up_s

    def parts_s(self) -> dict[str, float]:
        """Each part by its name."""
        return {entry.name.removesuffix("_s"): getattr(self, entry.name) for entry in fields(self)}


def _from_disk(replica: ModelReplica) -> float:
    return DISK_BYTES_PER_S * _nodes(replica)


def _from_object_store(replica: ModelReplica) -> float:
    return OBJECT_STORE_BYTES_PER_S * _nodes(replica)


def _from_peer(replica: ModelReplica) -> float:
    """Each device from its like on a replica that runs, over the network."""
    device = replica.device
    if device.scale_out is None:
        raise UnsupportedError(f"{device.id}: no known network, over which weights of a peer would come")
    return device.scale_out.one_way_bytes_per_s * replica.layout.devices


WEIGHT_SOURCES: dict[str, Callable[[ModelReplica], float]] = {
    "disk": _from_disk, "object_store": _from_object_store, "peer": _from_peer,
}  # fmt: skip
"""Where the weights come from -> bytes per second for all devices of a replica."""


def start_up(replica: ModelReplica, source: str = "object_store", image_pulled: bool = False) -> StartUpTime:
    """Seconds until a replica takes calls.

    boot + I / r_image + W / min(r_source, r_host) + layers x w

    W: weights of all its devices, each of which copies at most as fast as its link to the host.  image_pulled: the
    image is pulled first, and not on the machine's disk.

    Raises:
        InputError: the source is none of `WEIGHT_SOURCES`.
        UnsupportedError: weights of a peer, and no network is known.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> one = ModelReplica(
    ...     model("llama_3_1_8b"), accelerator("h100_sxm"), PrecisionRecipe(), ParallelLayout(),
    ...     EngineSettings.default(engine_facts("vllm")))
    >>> round(start_up(one).total_s), round(start_up(one, image_pulled=True).total_s)
    (175, 575)
    """
    if source not in WEIGHT_SOURCES:
        raise InputError(f"weights from {source!r}: not known; allowed: {', '.join(WEIGHT_SOURCES)}")
    rate = WEIGHT_SOURCES[source](replica)
    if replica.device.host is not None:
        rate = min(rate, replica.device.host.one_way_bytes_per_s * replica.layout.devices)
    layer_s = EAGER_LAYER_WARM_UP_S if replica.engine.eager else LAYER_WARM_UP_S
    return StartUpTime(
        boot_s=BOOT_S,
        image_s=IMAGE_BYTES / IMAGE_BYTES_PER_S if image_pulled else 0.0,
        weights_s=weight_bytes(replica) * replica.layout.devices / rate,
        warm_up_s=replica.model.layers * layer_s,
    )


def _nodes(replica: ModelReplica) -> int:
    """Machines of a replica, each of which loads its share."""
    return math.ceil(replica.layout.devices / max(1, node_devices(replica.device)))
