"""Keys that training tools define, read from their packages' own source: what exports of plans may write.

    pip download --no-deps megatron-core==0.16.1 megatron-bridge==0.3.1 torchtitan==0.2.2 llm-foundry==0.22.0 \\
        deepspeed==0.19.8 axolotl==0.19.0 peft==0.21.2 -d wheels
    python benchmarks/training_keys.py wheels

Writes tests/data/training_keys.json: names of fields of configuration classes, and of DeepSpeed the strings of its
constants. Nothing of the packages is executed or copied but these names.
"""

from __future__ import annotations

import ast
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "tests" / "data" / "training_keys.json"

FILES = {
    "megatron": (
        ("megatron_core", "megatron/core/model_parallel_config.py"),
        ("megatron_core", "megatron/core/transformer/transformer_config.py"),
        ("megatron_core", "megatron/core/distributed/distributed_data_parallel_config.py"),
        ("megatron_core", "megatron/core/optimizer/optimizer_config.py"),
        ("megatron_bridge", "megatron/bridge/training/config.py"),
        ("megatron_bridge", "megatron/bridge/models/gpt_provider.py"),
        ("megatron_bridge", "megatron/bridge/training/mlm_compat/arguments.py"),
    ),
    "torchtitan": (("torchtitan", "torchtitan/config/job_config.py"),),
    "llm_foundry": (("llm_foundry", "llmfoundry/utils/config_utils.py"),),
    "axolotl": (
        ("axolotl", "axolotl/utils/schemas/config.py"),
        ("axolotl", "axolotl/utils/schemas/model.py"),
        ("axolotl", "axolotl/utils/schemas/peft.py"),
        ("axolotl", "axolotl/utils/schemas/training.py"),
    ),
    "peft": (("peft", "peft/config.py"), ("peft", "peft/tuners/lora/config.py")),
    "deepspeed": (
        ("deepspeed", "deepspeed/runtime/constants.py"),
        ("deepspeed", "deepspeed/runtime/zero/config.py"),
        ("deepspeed", "deepspeed/runtime/precision_config.py"),
        ("deepspeed", "deepspeed/runtime/zero/offload_config.py"),
    ),
}
"""Tool -> package and file of its definitions."""


def main() -> None:
    """Read the packages of a folder and write the names."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    found: dict[str, dict[str, Any]] = {}
    for tool, files in FILES.items():
        names: set[str] = set()
        versions = {}
        for package, path in files:
            (archive,) = (one for one in sorted(folder.iterdir()) if one.name.startswith(f"{package}-"))
            versions[package] = archive.name.split("-")[1].removesuffix(".tar.gz")
            names |= set(_names(ast.parse(_text(archive, path))))
        found[tool] = {"versions": versions, "names": sorted(names)}
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print({tool: (one["versions"], len(one["names"])) for tool, one in found.items()})


def _text(archive: Path, path: str) -> str:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            return file.read(path).decode("utf-8")
    with tarfile.open(archive) as tar:
        member = next(one for one in tar.getmembers() if one.name.endswith(f"/{path}"))
        stream = tar.extractfile(member)
        assert stream is not None
        return stream.read().decode("utf-8")


def _names(tree: ast.Module) -> Iterator[str]:
    """Fields of classes, attributes of parsed arguments, and strings that constants are."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = (one.target for one in node.body if isinstance(one, ast.AnnAssign))
            yield from (one.id for one in fields if isinstance(one, ast.Name))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "args":
            yield node.attr
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield from (one for one in [node.value.value] if isinstance(one, str) and one.isidentifier())


if __name__ == "__main__":
    main()
