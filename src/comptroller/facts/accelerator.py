"""Accelerators: a device and the node it sits in, as the datasheet states them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedFormatError
from comptroller.facts.reader import WHAT_IF, FactSource, entry_of, fact_of

Arithmetic = Literal[
    "fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4", "int1", "lut1", "lut2", "lut4"
]  # fmt: skip
"""Arithmetic a matrix unit offers; an accelerator without a rate for one cannot run it natively. `lut4` looks products
of 16-bit activations and integer weights of at most four bits up in tables; only what-ifs have such units."""

_STRICT = ConfigDict(extra="forbid")
Rate = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class InterconnectLink:
    """A network between devices.

    bytes_per_s: per device; in each direction where `direction` is "each". Datasheets often print the sum of both
    directions, which `direction = "both"` marks and `one_way_bytes_per_s` halves.
    devices: how many devices the domain joins; 0 where the source states no limit (a fabric of nodes).
    peer_access: whether devices read and write each other's memory; where not, messages pass through the host's.
    """

    name: str
    direction: Literal["each", "both"]
    bytes_per_s: Rate
    devices: int = Field(default=0, ge=0)
    peer_access: bool = True

    @property
    def one_way_bytes_per_s(self) -> float:
        """Bytes per second, per device, in one direction."""
        return self.bytes_per_s / 2 if self.direction == "both" else self.bytes_per_s


@dataclass(frozen=True, config=_STRICT)
class WhatIfMachine:
    """Why an accelerator is no choice of a plan that is to run.

    why: what is missing, in a sentence.  engine: whose costs around the kernels it is given.
    never: why no language model can be served on it at all; empty where one could.
    """

    why: str
    engine: str = ""
    never: str = ""


@dataclass(frozen=True, config=_STRICT)
class Accelerator:
    """A device and its node. A rate that the datasheet does not state is absent, never zero.

    peak_flops_per_s: dense peak of the matrix units by arithmetic (a multiply-add counts two).
    scale_up: links inside the domain (NVLink, Infinity Fabric, ICI; PCIe where there is nothing better). Without one
    the devices of a node exchange through the host.
    scale_out: the node's network, per device.  host: the link to the host's memory, for swapping.
    node_devices: devices in one node, the unit of a parallel layout without scale-out traffic.
    reported_memory_bytes: what the driver reports as total; marketed gigabytes round it either way.
    clock_hz: the highest clock of its cores.
    die_area_m2: of the dies that compute, where export controls depend on it.
    kernels_of: the shipped accelerator whose timed kernels an own file takes for its own.
    what_if: set where nobody can rent or launch it; its id begins with `what_if`, so that no table hides it.
    """

    id: str
    name: str
    vendor: str
    family: str
    kind: Literal["gpu", "tpu", "npu", "soc", "cpu", "mcu", "qpu"]
    released: date
    peak_flops_per_s: Mapping[Arithmetic, Rate]
    memory_bytes: Rate
    memory_bytes_per_s: Rate
    tdp_w: Rate
    node_devices: Annotated[int, Field(ge=1)]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    idle_w: float | None = None
    clock_hz: Rate | None = None
    reported_memory_bytes: Rate | None = None
    scale_up: InterconnectLink | None = None
    scale_out: InterconnectLink | None = None
    host: InterconnectLink | None = None
    die_area_m2: Rate | None = None
    kernels_of: str = ""
    what_if: WhatIfMachine | None = None
    note: str = ""

    @model_validator(mode="after")
    def _named_as_what_it_is(self) -> Accelerator:
        if self.id.startswith(WHAT_IF) != (self.what_if is not None):
            raise ValueError(f"what_if: ids of what-ifs, and no others, begin with {WHAT_IF!r}; this is {self.id!r}")
        return self

    @property
    def timed_as(self) -> str:
        """The id under which its kernels were timed."""
        return self.kernels_of or self.id

    def peak(self, arithmetic: str) -> float:
        """Dense peak in flop/s.

        Raises:
            UnsupportedFormatError: the device has no such unit; names the ones it has.
        """
        rates: Mapping[str, float] = {str(key): value for key, value in self.peak_flops_per_s.items()}
        if arithmetic not in rates:
            raise UnsupportedFormatError(f"{self.id} has no {arithmetic} rate; it has {', '.join(sorted(rates))}")
        return rates[arithmetic]


def accelerator(name: str) -> Accelerator:
    """The accelerator of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> accelerator("h100_sxm").memory_bytes
    80000000000.0
    """
    return fact_of(Accelerator, entry_of("accelerators", name))
