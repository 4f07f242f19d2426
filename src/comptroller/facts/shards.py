"""The bytes of a checkpoint's files beside those that its config predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comptroller.errors import FactError
from comptroller.facts.format import format_
from comptroller.facts.model import Model
from comptroller.facts.reader import read_json

INDEX = "model.safetensors.index.json"
"""The file that lists the files of a checkpoint, with the bytes of all tensors in `metadata.total_size`."""

TOLERANCE = 0.05
"""Largest part by which the files may differ from the prediction. Heads of multi-token prediction, which files hold and
the model here does not, are 2 % of DeepSeek-V3's. Twice this would let the dense layers of a mixture pass unread."""

PLAIN_BYTES = 2.0
"""Bytes per element of what a quantised checkpoint leaves as it is."""


def checkpoint_bytes(model: Model) -> float:
    """Bytes of a checkpoint: embedding, norms and what is spared at 16 bit (32 in an fp32 file), the rest as it ships.

    >>> from comptroller.facts.config import model
    >>> round(checkpoint_bytes(model("llama_3_1_8b")) / 1e9, 2)  # 8.03 G parameters x 2 bytes
    16.06
    """
    weights, experts = format_(model.weights).bytes_per_element, format_(model.experts).bytes_per_element
    plain = max(PLAIN_BYTES, weights)
    ends = model.embedding_params + model.norm_elements + model.side_elements + model.vision_elements
    dense = model.total_params - ends - model.expert_params
    return ends * plain + model.expert_params * experts + dense * weights + model.spared_elements * (plain - weights)


def total_size(config: Path) -> int:
    """Bytes of all tensors in the files beside a config; 0 where no index lies there or it does not say.

    Raises:
        FactError: the index is not JSON.
    """
    path = config.parent / INDEX
    document = read_json(path) if path.is_file() else None
    metadata = document.get("metadata") if isinstance(document, dict) else None
    stated = metadata.get("total_size") if isinstance(metadata, dict) else None
    return stated if isinstance(stated, int) and stated > 0 else 0


def compare_with_files(model: Model, stated: int, file: str) -> Model:
    """The model, with a doubt where the files beside its config weigh other than it predicts. stated: bytes, or 0.

    Raises:
        FactError: they do, and the architecture was not checked.
    """
    predicted = checkpoint_bytes(model)
    if not stated or abs(predicted / stated - 1.0) <= TOLERANCE:
        return model
    what = f"the files weigh {stated / 1e9:.2f} GB, the config's keys predict {predicted / 1e9:.2f} GB"
    if not model.checked:
        raise FactError(file, f"{INDEX}: metadata.total_size", f"{what}, and {model.doubt}", f"within {TOLERANCE:.0%}")
    return replace(model, doubt=f"architecture not checked: {what}")
