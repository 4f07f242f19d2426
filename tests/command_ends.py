"""The command line as a process sees it: words in, an exit code out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from comptroller.cli import main


def ends(words: Iterable[object]) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0
