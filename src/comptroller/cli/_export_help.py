"""What `--export` says of itself, known without importing any target."""

from __future__ import annotations

from importlib import resources

TARGETS = sorted(
    path.name[:-3]
    for path in (resources.files("comptroller") / "export").iterdir()
    if path.name.endswith(".py") and path.name[0] != "_"
)

HELP = f"Write the plan for a tool, TARGET=FOLDER; again for others. Targets: {', '.join(TARGETS)}."
