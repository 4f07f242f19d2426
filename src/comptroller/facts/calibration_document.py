"""A calibration as content that can be kept: the two files of its folder, their digest, and the way back."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from comptroller.errors import FactError
from comptroller.facts.reader import build
from comptroller.facts.serving import ResidualAnchor, ServingFacts, parse_anchors

SERVING, RESIDUAL = "serving.toml", "residual.csv"
"""Files of a calibration's folder: fitted constants, and anchors of the learned residual."""


@dataclass(frozen=True)
class CalibrationDocument:
    """A calibration's two texts, which are all of it.

    >>> document = CalibrationDocument("rows = 1", "engine")
    >>> CalibrationDocument.of_content(document.content) == document
    True
    """

    serving: str
    residual: str

    @classmethod
    def of_folder(cls, folder: Path) -> CalibrationDocument:
        """The calibration that `comptroller fit calibration --out FOLDER` wrote.

        Raises:
            FactError: a file is missing or cannot be read.
        """
        texts = []
        for name in (SERVING, RESIDUAL):
            try:
                texts.append((folder / name).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
                allowed = "a folder that `comptroller fit calibration ... --out FOLDER` wrote"
                raise FactError(str(folder), name, str(reason or error), allowed) from error
        return cls(*texts)

    @classmethod
    def of_content(cls, content: Mapping[str, str]) -> CalibrationDocument:
        """From what `content` gave.

        Raises:
            FactError: it is not the content of a calibration.
        """
        if set(content) != {SERVING, RESIDUAL}:
            names = ", ".join(sorted(content)) or "nothing"
            raise FactError("calibration", "content", f"holds {names}", f"{SERVING}, {RESIDUAL}")
        return cls(content[SERVING], content[RESIDUAL])

    @property
    def content(self) -> dict[str, str]:
        """Both texts by the names of their files; strings alone, so that any JSON document can hold it."""
        return {SERVING: self.serving, RESIDUAL: self.residual}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in canonical JSON."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def facts(self) -> ServingFacts:
        """The fitted constants.

        Raises:
            FactError: the text is malformed; names field and what is allowed.
        """
        try:
            return build(ServingFacts, tomllib.loads(self.serving), SERVING)
        except tomllib.TOMLDecodeError as error:
            raise FactError(SERVING, "file", f"not valid TOML: {error}") from error

    @cached_property
    def anchors(self) -> tuple[ResidualAnchor, ...]:
        """The anchors of the residual.

        Raises:
            RecordError: the text is malformed.
        """
        return parse_anchors(self.residual, RESIDUAL)
