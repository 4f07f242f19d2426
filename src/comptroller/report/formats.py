"""Number formats side by side: bits, error, what multiplies them, measured speed, published and measured loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import median

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.energy import OperationEnergy, energy_table
from comptroller.facts.format import Format, format_
from comptroller.facts.quality import measured_models, quality_facts
from comptroller.facts.reader import ids
from comptroller.measure.kernels import DECODE, PREFILL, GemmShape, speed_over_bf16
from comptroller.numerics.error import crest_factor, predicted_qsnr_db, qsnr_db, spread_in
from comptroller.numerics.grid import Floats
from comptroller.numerics.quantise import check, format_with_variants, round_trip
from comptroller.report.facts import native_families
from comptroller.report.sheet import Cell, ReportSheet, SheetColumns, left, right

LEAST = 4096
"""Elements below which a tensor is no matrix worth quantising: norms and biases have no more."""


@lru_cache(maxsize=1)
def samples() -> Mapping[str, Floats]:
    """What formats are judged on where no weights are given: normal, and heavy tails (Student's t, 3 degrees)."""
    rng = np.random.default_rng(0)
    shape = (256, 1024)
    return {
        "normal": rng.standard_normal(shape).astype(np.float32),
        "heavy tails": rng.standard_t(3, shape).astype(np.float32),
    }


def catalogue() -> ReportSheet:
    """Every format: bits, error in dB, devices that multiply it, speed over bf16 as measured, published loss."""
    title = (
        "Formats: stored bits per element; QSNR on normal and heavy-tailed numbers; product speed over bf16 as "
        "fitted to measurements, median (least to most) over systems and engines, one token and 4,096 tokens"
    )
    return ReportSheet.of(title, CATALOGUE, map(format_, ids("formats")))


def _dequantised_on(fmt: Format) -> str | None:
    kernels = dict.fromkeys(family for kernel in fmt.kernels for family in kernel.families)
    return ", ".join(family for family in kernels if family not in fmt.native_families) or None


def stored_as(fmt: Format) -> str:
    """Element and levels in a few letters.

    >>> stored_as(format_("nvfp4")), stored_as(format_("q4_1"))
    ('e2m1, e4m3 per 16, f32 per tensor', 'int4, f16 + zero per 32')
    """
    element = fmt.element
    name = f"{element.kind}{element.bits:g}"
    if element.kind == "float":
        name = f"e{element.exponent_bits}m{element.mantissa_bits}"
    elif element.lattice:
        name = f"lattice {element.lattice}"
    parts = [name if fmt.of == 1 else f"{name}, {fmt.keep} of {fmt.of}"]
    for level in fmt.levels:
        zero = " + zero" if level.zero_bits else ""
        side = f"{level.block**0.5:g} x {level.block**0.5:g}" if level.across == "tile" else level.block
        whole = "tensor" if level.across == "tensor" else "channel"
        parts.append(f"{level.scale}{zero} per {side or whole}")
    return ", ".join(parts)


def error_db(fmt: Format, x: Floats) -> float | None:
    """QSNR of an array in a format; None for what keeps no elements, or loses nothing."""
    try:
        db = qsnr_db(x, fmt)
    except UnsupportedError:
        return None
    return db if math.isfinite(db) else None


def _speed(format_id: str, shape: GemmShape) -> str | None:
    ratios = sorted(speed_over_bf16(format_id, shape).values()) if format_id != "bf16" else []
    if not ratios:
        return None
    spread = f" ({ratios[0]:.1f} to {ratios[-1]:.1f})" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}{spread}"


def published_losses(format_id: str) -> str:
    """Perplexity over the reference's, by model: a loss belongs to a model and a format, never to a format alone."""
    losses = []
    for model in measured_models():
        facts = quality_facts(model)
        row = facts.published(format_id)
        ratio = facts.ratio(row) if row else None
        if ratio:
            losses.append(f"{model} {ratio - 1:+.1%}")
    return ", ".join(losses)


CATALOGUE: SheetColumns[Format] = (
    left("id"),
    right("bits_per_element", "bits"),
    left("stored", "stored as", stored_as),
    right("normal_db", "normal dB", lambda fmt: error_db(fmt, samples()["normal"])),
    right("heavy_db", "heavy dB", lambda fmt: error_db(fmt, samples()["heavy tails"])),
    left("native_on", "native on", native_families),
    left("dequantised_on", "dequantised on", _dequantised_on),
    right("decode_speed", "decode x", lambda fmt: _speed(fmt.id, DECODE)),
    right("prefill_speed", "prefill x", lambda fmt: _speed(fmt.id, PREFILL)),
    left("loss", "perplexity, published", lambda fmt: published_losses(fmt.id) or None),
)

OPERATIONS: SheetColumns[OperationEnergy] = (
    left("operation"),
    left("kind", "of"),
    right("bits"),
    right("energy_pj", "pJ", lambda row: row.energy_j * 1e12),
)


def operations() -> ReportSheet:
    """Energy of one operation by kind and width."""
    table = energy_table()
    return ReportSheet.of(f"{table.name}: {table.note}", OPERATIONS, table.rows)


def matrices(tensors: Mapping[str, Floats], formats: Sequence[Format]) -> tuple[dict[str, Floats], list[str]]:
    """The matrices that every format can hold, and the names of those left out.

    Raises:
        InputError: none is left; says why for one of them.
    """
    kept, left, why = {}, [], ""
    for name, x in tensors.items():
        if x.ndim < 2 or x.size < LEAST:
            continue
        try:
            for fmt in formats:
                check(x.shape, fmt)
        except InputError as error:
            left.append(name)
            why = f"{name}: {error}"
        else:
            kept[name] = x
    if not kept:
        raise InputError(why or f"no matrix of at least {LEAST} elements")
    return kept, left


def comparison(tensors: Mapping[str, Floats], names: Sequence[str], subject: str) -> ReportSheet:
    """Formats on the same tensors: bits, error, closed form, what a rotation changes, the tensor that suffers most."""
    columns = (
        left("id", "format"),
        right("bits_per_element", "bits"),
        right("qsnr_db", "QSNR dB"),
        right("predicted_db", "closed form"),
        right("crest", "crest factor"),
        right("rotated_db", "with Hadamard"),
        right("worst_db", "worst dB"),
        left("worst", "of"),
    )
    rows = tuple(_comparison_row(tensors, format_with_variants(name)) for name in names)
    return ReportSheet(f"{subject}: error of {len(tensors)} tensors together", columns, rows)


def _comparison_row(tensors: Mapping[str, Floats], fmt: Format) -> tuple[Cell, ...]:
    db_by_tensor = {name: qsnr_db(x, fmt) for name, x in tensors.items()}
    worst = min(db_by_tensor, key=lambda name: db_by_tensor[name])
    block = fmt.levels[0].block if fmt.levels else 0
    row_blocks = bool(block) and fmt.levels[0].across == "row"
    crest = [crest_factor(x, block) for x in tensors.values()] if row_blocks else []
    rotated = None if fmt.rotation == "hadamard" else format_with_variants(f"{fmt.id}+hadamard")
    return (
        fmt.id,
        fmt.bits_per_element,
        together(tensors, fmt),
        _predicted_qsnr_db(tensors, fmt) if row_blocks else None,
        float(np.mean(crest)) if crest else None,
        together(tensors, rotated) if rotated else None,
        db_by_tensor[worst],
        worst,
    )


def together(tensors: Mapping[str, Floats], fmt: Format) -> float:
    """QSNR over all tensors: summed signal over summed noise, dB."""
    signal = sum(float(np.square(x, dtype=np.float64).sum()) for x in tensors.values())
    noise = sum(float(np.square(x - round_trip(x, fmt), dtype=np.float64).sum()) for x in tensors.values())
    return 10 * math.log10(signal / noise) if noise else math.inf


def _predicted_qsnr_db(tensors: Mapping[str, Floats], fmt: Format) -> float | None:
    """The closed form, tensor by tensor, its noises summed."""
    try:
        powers = [float(np.square(x, dtype=np.float64).sum()) for x in tensors.values()]
        predicted_db = [predicted_qsnr_db(fmt, spread_in(_some(x), fmt.levels[0].block)) for x in tensors.values()]
    except UnsupportedError:
        return None
    noise = sum(power * 10 ** (-db / 10) for power, db in zip(powers, predicted_db, strict=True))
    return 10 * math.log10(sum(powers) / noise)


def _some(x: Floats) -> Floats:
    """Evenly spaced rows of a large tensor: the closed form needs no more than a million numbers."""
    rows = x.reshape(-1, x.shape[-1])
    return rows[:: max(1, rows.size >> 20)]
