"""A user's own strategies, by the path of their file: the same name at every door, and clear errors."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from comptroller.cli import main
from comptroller.errors import InputError
from comptroller.own_code import own_module
from comptroller.serving.own_policies import policy_number
from comptroller.serving.policies import module
from comptroller.strategies.spelling import parse, spell
from comptroller.work.workload import load

OWN = """
from __future__ import annotations

from dataclasses import dataclass

from comptroller.strategies.rules.once import OnceStrategy


@dataclass(frozen=True)
class Plain(OnceStrategy):
    note: str = "mine"
"""


def test_what_is_spelt_is_parsed_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    strategy = parse(f"{file}:Plain")
    assert spell(strategy).startswith(f"{file}:Plain")
    assert parse(spell(strategy)) == strategy


def test_a_strategy_lies_beside_its_workload(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "w.toml").write_text(
        'name = "w"\nrate_per_s = 1.0\n[quality]\nevidence = "own"\nstrategies = ["mine.py:Plain", "once"]\n'
        "[quality.solve]\nmin = 10.0\n"
    )
    loaded = load(tmp_path / "w.toml")
    assert loaded.quality is not None
    assert loaded.quality.strategies == (f"{tmp_path}/mine.py:Plain", "once")


def test_a_file_that_has_changed_is_read_again_and_one_that_has_not_is_not(tmp_path: Path) -> None:
    """At once: in the second of the first reading, and with as many bytes."""
    file = tmp_path / "own.py"
    found, numbers = [], []
    for rank in (1, 2, 2, 1):
        file.write_text(f"def rank(call):\n    return {rank}.0\n")
        found.append(module("scheduling", str(file)))
        numbers.append(policy_number("scheduling", str(file)))
    assert [one.rank(None) for one in found] == [1.0, 2.0, 2.0, 1.0]
    assert found[1] is found[2] and numbers[1] == numbers[2] and len(set(numbers)) == 3
    strategy = tmp_path / "mine.py"
    notes = []
    for note in ("mine", "ours"):
        strategy.write_text(OWN.replace("mine", note))
        notes.append(parse(f"{strategy}:Plain").note)
    assert notes == ["mine", "ours"]


def test_a_file_that_became_wrong_is_refused_and_then_read_again(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    for text, message in (("rank = abs", ""), ("rank = abc", "NameError"), ("rank = abs", ""), ("rang = 1", "`rank`")):
        file.write_text(text)
        with pytest.raises(InputError, match=message) if message else nullcontext():
            module("scheduling", str(file))


WRONG = {
    "import": ("import nothing_like_it", "line 1: ModuleNotFoundError: No module named 'nothing_like_it'"),
    "syntax": ("x = 1\ndef y(:", "line 2: SyntaxError"),
    "name": ("x = 1\ny = z", "line 2: NameError: name 'z' is not defined"),
    "class": ("x = 1", "no class Plain with `grid` and `solve`"),
    "play": (OWN + "    def solve(self, *given):\n        return 1 / 0\n", "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_code_is_told_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{case}_code.py").write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["replay", f"{case}_code.py:Plain", "--evidence", "own"])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert message in " ".join(err.split())
    assert f"{case}_code.py" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not bind the superuser")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.touch(mode=0o000)
    with pytest.raises(InputError, match=r"own\.py: Permission denied"):
        own_module(str(file))


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="of Linux")
def test_a_file_whose_reading_fails_and_a_path_that_cannot_be_one_are_named(tmp_path: Path) -> None:
    """A process's memory is a file that is there and whose first byte cannot be read, by anyone."""
    broken = tmp_path / "broken.py"
    broken.symlink_to("/proc/self/mem")
    for where, why in ((str(broken), r"broken\.py: Input/output error"), ("a" * 300 + ".py", "File name too long")):
        with pytest.raises(InputError, match=why):
            module("scheduling", where)


def test_future_statements_are_those_of_the_file_itself(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    for head, expected in (("", int), ("from __future__ import annotations\n", "int")):
        file.write_text(f"{head}def rank(call: int) -> float:\n    return 1.0\n")
        assert module("scheduling", str(file)).rank.__annotations__["call"] == expected
