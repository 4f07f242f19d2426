"""Runs real kernels of products on a device, by torch and what else is installed, and fits the kernel law to them.

Only what runs is timed: a format without a kernel here is named with the reason, never estimated.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.optimize import nnls

from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.format import format_
from comptroller.measure.kernels import GemmShape
from comptroller.own_code import own_module

WARM, SECONDS, REPEATS = 3, 0.2, 5
"""Calls before timing (the first ones load a kernel and choose its variant), seconds that all timed runs of a product
take together, and timed runs, whose median counts: two runs that something disturbed do not move a median of five."""

MOST_CALLS = 2000
"""Calls of one timed run at most: products of less than 20 us stop here, before their 40 ms are over."""

LEAST_SHAPES = 4
"""Shapes that a fit needs: it has three factors, so that fewer leave no error to report."""

SHAPES = tuple(GemmShape(m, n, k) for n, k in ((4096, 4096), (8192, 8192), (4096, 14336)) for m in (1, 16, 256, 4096))
"""Square matrices of 4,096 and 8,192 and the feed-forward matrix of Llama-3-8B, under 1 to 4,096 rows: from bound by
memory to bound by arithmetic."""


@dataclass(frozen=True, slots=True)
class GemmTiming:
    """Seconds of one product: the median over runs, and the least and most."""

    kernel: str
    format: str
    shape: GemmShape
    seconds: float
    least_s: float
    most_s: float


@dataclass(frozen=True, slots=True)
class GemmFit:
    """t = floor + bytes / bandwidth + flops / rate, fitted to the relative error.

    error: median absolute relative error on the shapes it was fitted on.
    """

    kernel: str
    format: str
    floor_s: float
    bytes_per_s: float
    flops_per_s: float
    error: float
    shapes: int


Product = Callable[[], Any]
Maker = Callable[[Any, str, GemmShape], Product]


def _dense(dtype: str) -> Maker:
    def make(torch: Any, device: str, shape: GemmShape) -> Product:
        kind = getattr(torch, dtype)
        x = torch.randn(shape.m, shape.k, device=device).to(kind)
        w = torch.randn(shape.n, shape.k, device=device).to(kind)
        return lambda: torch.nn.functional.linear(x, w)

    return make


def _int8(torch: Any, device: str, shape: GemmShape) -> Product:
    if device.startswith("cuda") and shape.m <= 16:
        raise UnsupportedError("torch._int_mm on CUDA takes more than 16 rows")
    x = torch.randint(-127, 128, (shape.m, shape.k), device=device, dtype=torch.int8)
    w = torch.randint(-127, 128, (shape.n, shape.k), device=device, dtype=torch.int8)
    return lambda: torch._int_mm(x, w.t())


def _fp8(torch: Any, device: str, shape: GemmShape) -> Product:
    if not device.startswith("cuda") or torch.cuda.get_device_capability(device) < (8, 9):
        raise UnsupportedError("torch._scaled_mm needs CUDA with compute capability 8.9")
    rows = -(-shape.m // 16) * 16
    x = torch.randn(rows, shape.k, device=device).to(torch.float8_e4m3fn)
    w = torch.randn(shape.n, shape.k, device=device).to(torch.float8_e4m3fn)
    unit_scale = torch.ones((), device=device)
    return lambda: torch._scaled_mm(x, w.t(), unit_scale, unit_scale, out_dtype=torch.bfloat16)


def _int4(torch: Any, device: str, shape: GemmShape) -> Product:
    if not device.startswith("cuda"):
        raise UnsupportedError("torch._weight_int4pack_mm is timed on CUDA")
    group = 128
    codes = torch.randint(0, 256, (shape.n, shape.k // 2), device=device, dtype=torch.uint8)
    packed = torch._convert_weight_to_int4pack(codes, 8)
    scales = torch.randn(shape.k // group, shape.n, 2, device=device, dtype=torch.bfloat16)
    x = torch.randn(shape.m, shape.k, device=device, dtype=torch.bfloat16)
    return lambda: torch._weight_int4pack_mm(x, packed, group, scales)


def _vllm(dtype: str) -> Maker:
    def make(torch: Any, device: str, shape: GemmShape) -> Product:
        try:
            from vllm import _custom_ops as ops
        except ImportError as error:
            raise UnsupportedError("vllm is not installed") from error
        kind = getattr(torch, dtype)
        x = torch.randn(shape.m, shape.k, device=device).clamp(-4, 4).to(kind)
        w = torch.randn(shape.n, shape.k, device=device).clamp(-4, 4).to(kind)
        rows, columns = torch.ones(shape.m, 1, device=device), torch.ones(1, shape.n, device=device)
        return lambda: ops.cutlass_scaled_mm(x, w.t(), rows, columns, torch.bfloat16)

    return make


KERNELS: Mapping[tuple[str, str], Maker] = {
    ("torch linear", "fp32"): _dense("float32"),
    ("torch linear", "bf16"): _dense("bfloat16"),
    ("torch linear", "fp16"): _dense("float16"),
    ("torch _int_mm", "int8"): _int8,
    ("torch _scaled_mm", "fp8_e4m3"): _fp8,
    ("torch _weight_int4pack_mm", "int4_g128"): _int4,
    ("vllm cutlass_scaled_mm", "fp8_e4m3"): _vllm("float8_e4m3fn"),
    ("vllm cutlass_scaled_mm", "int8"): _vllm("int8"),
}
"""(kernel, format) -> what makes a product ready to be called."""


def load(device: str) -> Any:
    """torch, if it is installed and has the device.

    Raises:
        InputError: it is not, or has not; says what to install or which devices there are.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("measuring kernels needs torch: pip install 'comptroller[kernels]'") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: torch {torch.__version__} sees no CUDA device here; devices: cpu")
    if not device.startswith(("cuda", "cpu")):
        raise InputError(f"device {device!r}: cpu, cuda or cuda:N")
    return torch


def device_name(device: str, torch: Any) -> str:
    """What the device is."""
    return str(torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "cpu")


def own_kernel(spec: str) -> tuple[tuple[str, str], Maker]:
    """A user's own kernel, `FILE.py:FUNCTION=FORMAT` (tilus kernels of any width come in this way).

    The function takes torch, a device and a `GemmShape`, and returns a product ready to be called.

    Raises:
        InputError: not spelled so, no such function, or a file that cannot be imported (where in it, and why).
        UnknownIdError: no such format; lists the nearest.
    """
    place, _, fmt = spec.partition("=")
    file, _, name = place.rpartition(":")
    if not (file.endswith(".py") and name and fmt):
        raise InputError(f"{spec}: FILE.py:FUNCTION=FORMAT, such as tilus_int6.py:make=int6_g128")
    format_(fmt)
    module = own_module(file)
    if module is None:
        raise InputError(f"{file}: no such file")
    if not callable(getattr(module, name, None)):
        raise InputError(f"{file}: no function {name}")
    return (Path(file).stem, fmt), getattr(module, name)


def measure(
    device: str,
    shapes: Sequence[GemmShape] = SHAPES,
    tell: Callable[[str], None] | None = None,
    users_kernels: Mapping[tuple[str, str], Maker] | None = None,
) -> Iterator[GemmTiming]:
    """Time every kernel that the device has on every shape; `tell` gets the reason for each that does not run.

    Raises:
        InputError: torch or the device is missing.
    """
    torch, reasons = load(device), set[str]()
    for (kernel, fmt), make in {**KERNELS, **(users_kernels or {})}.items():
        for shape in shapes:
            try:
                product = make(torch, device, shape)
                product()
            except (UnsupportedError, RuntimeError, AttributeError) as error:
                reason = f"{kernel}, {fmt}: {str(error).splitlines()[0]}"
                if tell and reason not in reasons:
                    tell(reason)
                reasons.add(reason)
                continue
            seconds = _seconds_per_call(torch, device, product)
            yield GemmTiming(kernel, fmt, shape, float(np.median(seconds)), min(seconds), max(seconds))


def _seconds_per_call(torch: Any, device: str, product: Product) -> list[float]:
    """Seconds per call, `REPEATS` runs; on CUDA replayed from a graph, as engines run it."""
    for _ in range(WARM):
        product()
    clock = _cuda_clock(torch, product) if device.startswith("cuda") else _wall_clock(product)
    once = clock(1)
    calls = max(1, min(MOST_CALLS, round(SECONDS / REPEATS / max(once, 1e-7))))
    return [clock(calls) / calls for _ in range(REPEATS)]


def _wall_clock(product: Product) -> Callable[[int], float]:
    def run(calls: int) -> float:
        start = perf_counter()
        for _ in range(calls):
            product()
        return perf_counter() - start

    return run


def _cuda_clock(torch: Any, product: Product) -> Callable[[int], float]:
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        product()

    def run(calls: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return run


def fits(timings: Sequence[GemmTiming], bytes_per_weight: Mapping[str, float]) -> list[GemmFit]:
    """The affine law of every kernel that was timed on at least four shapes.

    bytes_per_weight: of a format; activations count two bytes (four in fp32).
    """
    fitted = []
    for kernel, fmt in dict.fromkeys((t.kernel, t.format) for t in timings):
        timed = [t for t in timings if (t.kernel, t.format) == (kernel, fmt)]
        if len(timed) < LEAST_SHAPES:
            continue
        shapes = [t.shape for t in timed]
        weight_bytes, activation_bytes = bytes_per_weight[fmt], 4.0 if fmt == "fp32" else 2.0
        moved = [s.n * s.k * weight_bytes + activation_bytes * s.m * (s.n + s.k) for s in shapes]
        seconds = np.array([t.seconds for t in timed])
        rows = np.stack([np.full(len(timed), 1e-6), np.array(moved) / 1e9, [s.flops / 1e12 for s in shapes]], axis=1)
        factors, _ = nnls(rows / seconds[:, None], np.ones(len(timed)))
        error = float(np.median(np.abs(rows @ factors / seconds - 1)))
        rates = [unit / factor if factor > 0 else np.inf for unit, factor in zip((1e9, 1e12), factors[1:], strict=True)]
        fitted.append(
            GemmFit(kernel, fmt, float(factors[0]) * 1e-6, float(rates[0]), float(rates[1]), error, len(timed))
        )
    return fitted


def as_toml(device: str, versions: Mapping[str, str], found: Sequence[GemmFit]) -> str:
    """A calibration file: the fits with device, date and versions."""
    lines = [
        f"# Products timed on {device}; t = floor_s + bytes / bytes_per_s + flops / flops_per_s",
        "# Command: comptroller measure kernels",
        f"name = {_toml_string(f'kernels of {device}')}",
        f"date = {date.today().isoformat()}",
        f"device = {_toml_string(device)}",
        f"versions = {{ {', '.join(f'{k} = {_toml_string(v)}' for k, v in versions.items())} }}",
        "kernels = [",
    ]
    for fit in found:
        rates_by_name = {"bytes_per_s": fit.bytes_per_s, "flops_per_s": fit.flops_per_s}
        rates = "".join(f", {key} = {value:.4g}" for key, value in rates_by_name.items() if np.isfinite(value))
        lines.append(
            f"  {{ kernel = {_toml_string(fit.kernel)}, format = {_toml_string(fit.format)}, "
            f"floor_s = {fit.floor_s:.4g}{rates}, error = {fit.error:.3g}, shapes = {fit.shapes} }},"
        )
    return "\n".join([*lines, "]", ""])


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
