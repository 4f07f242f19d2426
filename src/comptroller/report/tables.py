"""A table as a file: CSV, Markdown, LaTeX or Parquet, by the name's ending."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from comptroller.errors import InputError
from comptroller.report.sheet import ReportSheet

_LATEX = {letter: "\\" + letter for letter in "&%$#_{}"} | {"–": "--", "~": "\\textasciitilde{}"}


def as_csv(sheet: ReportSheet) -> bytes:
    """Comma-separated raw values, keys first; unknown is empty."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.key for column in sheet.columns])
    writer.writerows([["" if cell is None else cell for cell in row] for row in sheet.rows])
    return out.getvalue().encode()


def as_markdown(sheet: ReportSheet) -> bytes:
    """A Markdown table under its title."""
    return f"## {sheet.title}\n\n{sheet.markdown()}\n".encode()


def as_latex(sheet: ReportSheet) -> bytes:
    r"""A LaTeX `tabular` in the rules of booktabs.

    >>> from comptroller.report.sheet import left
    >>> print(as_latex(ReportSheet("t", (left("a"),), (("50 %",),))).decode().splitlines()[4])
    50 \% \\
    """
    sides = "".join("r" if column.side == "right" else "l" for column in sheet.columns)
    lines = [f"% {sheet.title}", f"\\begin{{tabular}}{{{sides}}}", "\\toprule"]
    heads = " & ".join(_latex_text(column.heading) for column in sheet.columns)
    rows = [" & ".join(map(_latex_text, row)) + r" \\" for row in sheet.texts()]
    lines += [heads + r" \\ \midrule", *rows, "\\bottomrule", "\\end{tabular}", ""]
    return "\n".join(lines).encode()


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def parquet_of(columns: Mapping[str, Any]) -> bytes:
    """Columns as Parquet, unknown as null.

    Raises:
        InputError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'comptroller[tables]'") from error
    arrays = {name: pyarrow.array(column, from_pandas=True) for name, column in columns.items()}
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), out, compression="zstd")
    return out.getvalue()


def as_parquet(sheet: ReportSheet) -> bytes:
    """Parquet, a column for each of the sheet's."""
    records = sheet.records()
    return parquet_of({column.key: [record[column.key] for record in records] for column in sheet.columns})


WRITERS: Mapping[str, Callable[[ReportSheet], bytes]] = {
    ".csv": as_csv,
    ".md": as_markdown,
    ".tex": as_latex,
    ".parquet": as_parquet,
}


RAW = (".csv", ".parquet")
"""Files that programs read: raw values, unknown left empty."""


def writer_of(path: Path) -> Callable[[ReportSheet], bytes]:
    """What writes a file of this name.

    Raises:
        InputError: the ending is none of those known.
    """
    if path.suffix not in WRITERS:
        raise InputError(f"{path}: a table ends in one of {', '.join(WRITERS)}")
    return WRITERS[path.suffix]
