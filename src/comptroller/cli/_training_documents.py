"""Documents of training and of models' lives among the workloads of `comptroller plan`, and who plans them."""

from __future__ import annotations

from pathlib import Path

from comptroller.errors import InputError

File = Path | None


def training_table(text: str) -> str:
    """The table that makes a file one of training or of a model's life; empty where it is none."""
    path = Path(text)
    if path.suffix != ".toml" or not path.is_file():
        return ""
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:  # no TOML, or no text: told by who reads it
        return ""
    return next((name for name in ("training", "lifetime") if name in document), "")


def tell_training(
    workload: tuple[str, Path], beside: tuple[object, ...], json: bool, paths: dict[str, File], export: list[str] | None
) -> None:
    """Plan a training run or a life; `beside` are the options of serving alone.

    Raises:
        InputError: one of them was given.
    """
    table, file = workload
    if any(beside) or (export and table == "lifetime"):
        raise InputError(
            f"a workload of {table} takes --json, --out, --html{', --png and --export' if table == 'training' else ''} "
            f"alone: other options are of serving"
        )
    if table == "lifetime":
        from comptroller.cli._lifetime import tell_lifetime_plan

        return tell_lifetime_plan(file, json, paths)
    from comptroller.cli._training import tell_training_plan

    tell_training_plan(file, json, paths, export)
