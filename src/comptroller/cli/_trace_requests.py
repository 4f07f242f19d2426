"""The requests of a trace that a command names, as its options say."""

from __future__ import annotations

from pathlib import Path

from comptroller.cli._output import say
from comptroller.work.data_files import find_data
from comptroller.work.trace import RequestTrace
from comptroller.work.traces import read_trace, reading_of


def requests_of(trace: str, near: Path, columns: list[str], skip_bad: bool, rate: float | None) -> RequestTrace:
    """The requests of a file, by path or by name, at a mean rate per second where one is stated; tells its notes.

    near: a file beside which a named one is looked for.

    Raises:
        InputError: no such trace, or rows that cannot be read.
    """
    file = Path(trace)
    requests = read_trace(
        file if file.exists() else find_data("trace", trace, near), reading_of(columns, skip_bad, rate)
    )
    if rate is not None and requests.rate_per_s > 0:
        requests = requests.scaled(rate / requests.rate_per_s)
    for note in requests.notes:
        say(note)
    return requests
