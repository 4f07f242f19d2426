"""Programs that write a checkpoint in another number format, with their commands, the disk they fill and their time."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.reader import FactSource, entry_of, fact_of

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class ConversionMethod:
    """A method of a program.

    arguments: format id -> what its commands call it.  steps: words of each command, with {source} the 16-bit
    repository, {target} what is written, {argument}.  reference_s: seconds for a model of the file's `reference_params`
    parameters on the device of its source; `None` where no source states any.  timed: the step that this is of, empty
    for all.
    """

    name: str
    arguments: Mapping[str, str]
    steps: tuple[tuple[str, ...], ...]
    reference_s: float | None = None
    timed: str = ""


@dataclass(frozen=True, config=_STRICT)
class CheckpointConverter:
    """A program that converts.

    reference_params: of the model that times are stated for.  wide_copies: copies of the 16-bit weights on the disk
    meanwhile.
    """

    id: str
    name: str
    install: str
    methods: tuple[ConversionMethod, ...]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    reference_params: float = 1.0
    wide_copies: int = 1
    note: str = ""

    def method(self, format: str) -> ConversionMethod:
        """The method for a format.

        Raises:
            UnsupportedError: it has none.
        """
        for method in self.methods:
            if format in method.arguments:
                return method
        known = ", ".join(sorted(name for method in self.methods for name in method.arguments))
        raise UnsupportedError(f"{self.name} is not known to write {format}; it writes {known}")

    def command(self, format: str, source: str, target: str) -> str:
        """The shell line that writes a checkpoint in a format.

        Raises:
            UnsupportedError: the program is not known to write it.
        """
        method = self.method(format)
        values = {"source": source, "target": target, "argument": method.arguments[format]}
        return " && ".join(shlex.join(word.format(**values) for word in words) for words in method.steps)


def converter(name: str) -> CheckpointConverter:
    """The converter of an id.

    Raises:
        UnknownIdError: there is none.
        FactError: the file is malformed.

    >>> converter("llama_cpp").command("q8_0", "org/m", "m.gguf").split(" && ")[-1]
    'llama-quantize --pure m.gguf.bf16 m.gguf Q8_0'
    """
    return fact_of(CheckpointConverter, entry_of("converters", name))
