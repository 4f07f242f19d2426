"""Number formats for weights, activations and cache; bits per element are derived from the encoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.reader import FactSource, entry_of, fact_of

_STRICT = ConfigDict(extra="forbid")
Support = Literal["native", "dequantised", "emulated"]


@dataclass(frozen=True, config=_STRICT)
class ElementEncoding:
    """Encoding of one stored element.

    kind: `float` (sign + exponent_bits + mantissa_bits), `int` (two's complement or unsigned),
    `ternary`, or `codebook` (an index into 2**bits values). bits may be fractional for packed ternary.
    values: of a codebook, ascending.  lattice: of a codebook of vectors, its table in the package gguf.
    """

    kind: Literal["float", "int", "ternary", "codebook"]
    bits: Annotated[float, Field(gt=0, le=64)]
    exponent_bits: int | None = None
    mantissa_bits: int | None = None
    values: tuple[float, ...] = ()
    lattice: str = ""


@dataclass(frozen=True, config=_STRICT)
class ScaleLevel:
    """A level of scaling: scale_bits + zero_bits of metadata for every `block` elements.

    block: 0 means one scale per channel or tensor, whose bits per element are taken as 0.
    across: blocks run along a row (0: the row), cover a square tile, or run over the whole tensor.
    fit: the scale takes the largest magnitude to the largest element, the largest magnitude with its sign to the
    lowest element, or the mean magnitude to 1.  power: which way a power-of-two scale is rounded.
    """

    block: Annotated[int, Field(ge=0)]
    scale: Literal["f32", "f16", "bf16", "e8m0", "e4m3", "ue5m3", "int6", "int8", "int4"]
    scale_bits: Annotated[float, Field(ge=0)]
    zero_bits: float = 0.0
    across: Literal["row", "tile", "tensor"] = "row"
    fit: Literal["absmax", "signed", "absmean"] = "absmax"
    power: Literal["floor", "ceil"] = "floor"


@dataclass(frozen=True, config=_STRICT)
class DequantisationKernel:
    """A published kernel that reads this format and computes in another arithmetic."""

    name: str
    families: tuple[str, ...]
    computes_in: str
    source: str


@dataclass(frozen=True, config=_STRICT)
class PublishedSpeed:
    """What the publishers of a kernel say of its speed: their evidence, never a measurement of this package.

    ratio: least and most, times as fast as `over`; empty where a source claims something else, which `note` says.
    runs_in: who can run it.
    """

    method: str
    families: tuple[str, ...]
    source: str
    runs_in: str
    ratio: tuple[float, ...] = ()
    over: str = ""
    note: str = ""

    def __str__(self) -> str:
        told = " to ".join(f"{value:g}" for value in self.ratio)
        speed = f"{told} x {self.over}" if self.ratio else "no ratio"
        return f"{self.method} ({self.runs_in}): {speed}{f', {self.note}' if self.note else ''}"


@dataclass(frozen=True, config=_STRICT)
class Format:
    """A number format.

    arithmetic: the matrix-unit arithmetic that multiplies it natively, if any exists.
    native_families: accelerator families whose units take the format itself (empty: every accelerator with a
    rate for `arithmetic`).  keep, of: N:M sparsity (keep of every `of` elements are stored, with an index).
    ties: how elements half way between two values are rounded.  coded_with: elements are coded with the scale as
    stored, or with the exact one before it is rounded (llama.cpp).  published: speeds that papers claim of it.
    """

    id: str
    name: str
    element: ElementEncoding
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    levels: tuple[ScaleLevel, ...] = ()
    arithmetic: str | None = None
    native_families: tuple[str, ...] = ()
    kernels: tuple[DequantisationKernel, ...] = ()
    published: tuple[PublishedSpeed, ...] = ()
    roles: tuple[Literal["weights", "activations", "kv"], ...] = ("weights",)
    rotation: Literal["none", "hadamard"] = "none"
    ties: Literal["even", "away", "up"] = "even"
    coded_with: Literal["stored", "exact"] = "stored"
    keep: int = 1
    of: int = 1
    note: str = ""

    @property
    def bits_per_element(self) -> float:
        """Stored bits per element of the tensor: element, index of sparsity, scales and zero points.

        >>> format_("nvfp4").bits_per_element
        4.5
        """
        index = (self.of - 1).bit_length() if self.of > 1 else 0
        stored = (self.element.bits + index) * self.keep / self.of
        return stored + sum((x.scale_bits + x.zero_bits) / x.block for x in self.levels if x.block)

    @property
    def bytes_per_element(self) -> float:
        """Stored bytes per element."""
        return self.bits_per_element / 8

    def _kernel(self, device: Accelerator) -> DequantisationKernel | None:
        """The first published kernel for the device whose arithmetic the device has."""
        fits = (k for k in self.kernels if device.family in k.families and k.computes_in in device.peak_flops_per_s)
        return next(fits, None)

    def support(self, device: Accelerator) -> Support:
        """How a device multiplies it: `native`, `dequantised` by a published kernel, or `emulated`."""
        has_rate = self.arithmetic in device.peak_flops_per_s
        if has_rate and (not self.native_families or device.family in self.native_families):
            return "native"
        return "dequantised" if self._kernel(device) else "emulated"

    def compute_arithmetic(self, device: Accelerator) -> str:
        """The arithmetic in which a device multiplies it; native arithmetic takes both operands in this format.

        Raises:
            UnsupportedFormatError: neither a native unit nor a published kernel; the device would have to emulate it.
        """
        if self.arithmetic and self.support(device) == "native":
            return self.arithmetic
        kernel = self._kernel(device)
        if kernel:
            return kernel.computes_in
        units = f"{self.arithmetic} units" if self.arithmetic else "no unit"
        devices = ", ".join(self.native_families) or "any device with that rate" if self.arithmetic else "no device"
        kernel_families = sorted({family for kernel in self.kernels for family in kernel.families})
        raise UnsupportedFormatError(
            f"{device.id} ({device.family}) cannot run {self.id}: it needs {units} ({devices}) or a published "
            f"kernel ({', '.join(kernel_families) or 'none known'}); {device.id} has rates for "
            f"{', '.join(sorted(device.peak_flops_per_s))}"
        )


def format_(name: str) -> Format:
    """The format of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> format_("bf16").bytes_per_element
    2.0
    """
    return fact_of(Format, entry_of("formats", name))
