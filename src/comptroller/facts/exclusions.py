"""Which matrices a quantised checkpoint leaves in 16 bit, from the list of modules in its `quantization_config`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate

from comptroller.facts.checkpoint import spared_modules, unquantised_format
from comptroller.facts.fields import ConfigFields
from comptroller.facts.layers import LayerParts
from comptroller.facts.model import LinearAttention, MixtureOfExperts, ProjectionMatrix

OTHER_TOWERS = re.compile(r"vision|visual|audio|multi_modal|mm_projector|mtp|embed|lm_head")
"""Modules of other parts of a checkpoint; their layers are numbered as those of the decoder are."""

SYNONYMS = (
    (re.compile(r"(?<=\.)(?:attention|attn|self_attention|cross_attn)(?=\.|$)"), "self_attn"),
    (re.compile(r"(?<=\.)(?:feed_forward|ffn|block_sparse_moe)(?=\.|$)"), "mlp"),
    (re.compile(r"(?<=\.)(?:mamba|mixer|conv)(?=\.|$)"), "linear_attn"),
    (re.compile(r"(?<=\.)(?:shared_expert|shared_mlp)(?=\.|$)"), "shared_experts"),
    (re.compile(r"^.*?(?=(?:layers|h|blocks)\.\d)"), ""),
    (re.compile(r"^(?:h|blocks)(?=\.\d)"), "layers"),
)
"""Names that checkpoints give one part, and the one it has here."""

ATTENTION = {"kv_a": ("kv_a_proj_with_mqa", "kv_a_proj"), "q": ("q_proj", "qkv_proj"), "k": ("k_proj", "qkv_proj")}
ATTENTION |= {"v": ("v_proj", "qkv_proj")}
"""Matrix of attention -> names of the module that holds it; any other is NAME_proj."""

RECURRENCE = {"in": ("in_proj", "in_proj_qkv"), "out": ("out_proj",)}
"""Matrix of a recurrence -> names of the module that holds it."""


@dataclass(frozen=True, slots=True)
class ExclusionList:
    """The entries of a list of modules: whole names, and patterns of one layer or of all (None)."""

    names: set[str] = field(default_factory=set)
    patterns: dict[str | None, list[re.Pattern[str]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, entries: Sequence[str]) -> ExclusionList:
        """The entries as engines match them: names of modules or of parents, globs, and `re:` patterns."""
        modules = cls()
        for entry in entries:
            if entry.startswith("re:"):
                modules.patterns[None].append(_regex(entry.removeprefix("re:")))
            elif not OTHER_TOWERS.search(entry) or "*" in entry:
                modules._add(entry)
        return modules

    def _add(self, entry: str) -> None:
        name = "." + entry
        for pattern, ours in SYNONYMS:
            name = pattern.sub(ours, name)
        name = name.removeprefix(".")
        if "*" not in name:
            self.names.add(name)
            return
        layer = re.match(r"layers\.(\d+)(?:\.|\*$)", name)
        glob = translate(name).removesuffix(r"\Z").removesuffix(r"\z")
        self.patterns[layer and layer[1]].append(re.compile(rf"(?:.*\.)?{glob}(?:\.|$)"))

    def hold(self, layer: int, module: str) -> bool:
        """Whether the list names the module of a layer, a parent of it, or both by a pattern."""
        parts = module.split(".")
        inner = [".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
        outer = [f"layers.{layer}", *(f"layers.{layer}." + ".".join(parts[: i + 1]) for i in range(len(parts)))]
        if self.names.intersection((*inner, *outer)):
            return True
        full = [
            f"{place}layers.{layer}.{module}" for place in ("model.", "model.language_model.", "language_model.model.")
        ]
        patterns = (*self.patterns.get(str(layer), ()), *self.patterns.get(None, ()))
        return any(pattern.match(name) for pattern in patterns for name in (f"layers.{layer}.{module}", *full))


def spared_elements(fields: ConfigFields, stack: Sequence[LayerParts], weights: str) -> int:
    """Weights of the layers that a checkpoint in `weights` leaves unquantised; routed experts are not among them.

    stack: the parts of each layer, in order.
    """
    entries = spared_modules(fields)
    if not entries or weights == unquantised_format(fields):
        return 0
    modules, hidden, layer, total = ExclusionList.of(entries), fields.count("hidden"), 0, 0.0
    for parts in stack:
        for share, elements, names in _matrices(parts, hidden):
            total += share * elements if any(modules.hold(layer, name) for name in names) else 0
        layer += not parts[2]
    return int(total)


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(text))


def _matrices(parts: LayerParts, hidden: int) -> Iterator[tuple[float, int, list[str]]]:
    """Share of a matrix, its elements, and the names of the module that holds that share."""
    mixer, feed, _ = parts
    for matrix in mixer.projections(hidden) if mixer else ():
        yield 1.0, matrix.elements, _mixer_names(matrix, isinstance(mixer, LinearAttention))
    for matrix in feed.projections(hidden) if feed else ():
        place = "mlp.shared_experts" if isinstance(feed, MixtureOfExperts) else "mlp"
        if matrix.name == "up" and feed and feed.gated:
            yield 0.5, matrix.elements, [f"{place}.gate_proj", f"{place}.gate_up_proj"]
            yield 0.5, matrix.elements, [f"{place}.up_proj", f"{place}.gate_up_proj"]
        else:
            yield 1.0, matrix.elements, _feed_names(matrix, place)


def _mixer_names(matrix: ProjectionMatrix, recurs: bool) -> list[str]:
    names = RECURRENCE.get(matrix.name, ()) if recurs else ATTENTION.get(matrix.name, (f"{matrix.name}_proj",))
    return [f"{'linear_attn' if recurs else 'self_attn'}.{name}" for name in names]


def _feed_names(matrix: ProjectionMatrix, place: str) -> list[str]:
    return {"router": ["mlp.gate", "mlp.router"]}.get(matrix.name, [f"{place}.{matrix.name}_proj"])
