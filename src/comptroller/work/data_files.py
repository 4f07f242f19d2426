"""Where the files lie that a workload names: beside it, or in the data folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from comptroller.errors import FactError
from comptroller.facts.calibration_document import CalibrationDocument

FOLDERS = {"trace": ("traces", "agents", "fleet"), "evidence": ("evidence", "agents"), "hourly table": ("fleet",)}
"""Kind of file that a workload names -> data folders that it is looked for in; runs of agents are of two kinds."""


def data_folders(kind: str, file: Path) -> Iterator[Path]:
    """The folders that a file is looked for in: that of the workload, then the data folders."""
    yield file.parent
    told = os.environ.get("COMPTROLLER_DATA")
    near = (Path.cwd(), file.absolute().parent, file.absolute().parent.parent)
    roots = [*((Path(told),) if told else ()), *(base.parent / "shared" / "data" for base in near)]
    yield from (root / folder for root in roots for folder in FOLDERS[kind])


def find_data(kind: str, name: str, file: Path) -> Path:
    """The path of a trace or of evidence (a file or folder) by its name or path, relative to the workload `file`.

    Raises:
        FactError: it is not there; lists the folders searched.
    """
    folders = list(dict.fromkeys(data_folders(kind, file)))
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    places = ", ".join(str(folder) for folder in folders)
    held = " or ".join(f"{folder}/" for folder in FOLDERS[kind])
    hint = f"a path, or COMPTROLLER_DATA set to the folder that holds {held}"
    raise FactError(file.name, kind, f"{name!r} is not there; looked in {places}", hint)


def find_calibration(name: str, file: Path) -> Path:
    """The folder of a calibration, relative to the workload's.

    Raises:
        FactError: it is none; says what it lacks.
    """
    folder = file.parent / name
    try:
        CalibrationDocument.of_folder(folder)
    except FactError as error:
        raise FactError(file.name, "calibration", f"{name!r}: {error.field}: {error.problem}", error.allowed) from error
    return folder


def calibration_digest(folder: str) -> str:
    """SHA-256 of the content of a calibration's folder."""
    return CalibrationDocument.of_folder(Path(folder)).digest


def found_evidence(path: Path) -> Path:
    """The path of a file of evidence: as it is given, or of its name in a data folder.

    Raises:
        FactError: it is in neither; lists the folders searched.
    """
    return path if path.exists() or path.is_absolute() else find_data("evidence", str(path), Path(path.name))
