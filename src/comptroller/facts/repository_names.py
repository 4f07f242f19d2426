"""What the name of a Hugging Face repository says of the model that it is a form of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SCHEMES: dict[str, Mapping[str, Any]] = {
    "-nvfp4": {"quant_algo": "NVFP4"},
    "-fp4": {"quant_algo": "NVFP4"},
    "-fp8-dynamic": {"quant_algo": "FP8"},
    "-fp8": {"quant_algo": "FP8"},
    "-awq": {"quant_method": "awq"},
    "-gptq-int4": {"quant_method": "gptq", "bits": 4},
    "-gptq-int8": {"quant_method": "gptq", "bits": 8},
    "-quantized.w4a16": {"quant_method": "gptq", "bits": 4},
    "-quantized.w8a8": {"quant_algo": "INT8_SQ"},
    "-bnb-4bit": {"quant_method": "bitsandbytes"},
    "-bf16": {},
}
"""Ending of a repository's name -> the `quantization_config` that its publishers mean by it; none for 16 bit."""

BLOCKWISE = {"quant_method": "fp8", "weight_block_size": [128, 128]}
"""FP8 with one scale per 128 x 128 weights (DeepSeek-V3, arXiv 2412.19437, section 3.3). `facts.checkpoint` only looks
at whether there is a block size, so twice this gives the same format."""

BLOCKWISE_PUBLISHERS = ("qwen/", "zai-org/", "deepseek-ai/", "minimaxai/")
"""Publishers, in lower case, whose FP8 repositories are scaled by blocks, as all of theirs that the files list are."""

_RELEASE = re.compile(r"-(instruct|thinking|chat|it|base|hf|pt|\d{4}|v\d+(\.\d+)*)$")
"""Ending of a repository's name that tells a release of a model from others of the same architecture."""


@dataclass(frozen=True, slots=True)
class RepositoryForm:
    """A name taken apart. base: what is left, in lower case.  scheme: of the quantisation that an ending names, `None`
    where none does, empty for 16 bit.  release: the endings that name a release, which `base` lacks."""

    base: str
    scheme: Mapping[str, Any] | None = None
    release: str = ""

    def doubt(self, listed: str) -> str:
        """What is taken on trust, of the repository that lists the architecture; empty where nothing is."""
        if not self.release:
            return ""
        return f"read as {listed} by its name: whether {self.release!r} has its context and layers is not checked"


def repository_forms(name: str) -> Iterator[RepositoryForm]:
    """Forms that a name may be of, the one that takes least on trust first.

    >>> [form.base for form in repository_forms("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8")][-1]
    'qwen3-235b-a22b'
    """
    base, scheme, release = name.rpartition("/")[2].lower(), None, ""
    yield RepositoryForm(base)
    for ending, meant in SCHEMES.items():
        if scheme is None and base.endswith(ending):
            base, scheme = base.removesuffix(ending), meant
            yield RepositoryForm(base, scheme)
    while match := _RELEASE.search(base):
        base, release = base[: match.start()], match.group() + release
        yield RepositoryForm(base, scheme, release)


def is_blockwise(name: str, scheme: Mapping[str, Any]) -> bool:
    """Whether a publisher's FP8 repositories are scaled by blocks."""
    return name.lower().startswith(BLOCKWISE_PUBLISHERS) and scheme == SCHEMES["-fp8"]
