"""The flags and choices that published engines take, read from their source: importing them needs a GPU stack."""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest


def source(package: str, *names: str) -> list[ast.Module]:
    """Parsed files of an installed package, which is not imported; skips the test where it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed; make test-export installs it beside")
    root = Path(spec.submodule_search_locations[0])
    paths = [path for name in names for path in sorted(root.glob(name))]
    assert paths, names
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths]


def literals(trees: list[ast.Module]) -> dict[str, list[str]]:
    """Names that stand for Literal[...] or a list of texts at the top of a file -> the texts."""
    found = {}
    for node in (node for tree in trees for node in tree.body if isinstance(node, ast.Assign)):
        value = node.value.slice if isinstance(node.value, ast.Subscript) else node.value
        items = getattr(value, "elts", [])
        if items and all(isinstance(x, ast.Constant) for x in items) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = [str(x.value) for x in items]
    return found


def vllm() -> argparse.ArgumentParser:
    """Flags of `vllm serve`: engine and front end; choices where they are Literals."""
    parser = argparse.ArgumentParser(prog="vllm serve", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("model")
    known = literals(source("vllm", "config/*.py", "model_executor/layers/quantization/__init__.py"))
    choices = {"quantization": "QuantizationMethods", "kv-cache-dtype": "CacheDType", "dtype": "ModelDType"}
    (engine,) = source("vllm", "engine/arg_utils.py")
    (front,) = source("vllm", "entrypoints/openai/cli_args.py")
    fields = dict(_fields(front))
    flags = {flag for tree in (engine, front) for flag in added_flags(tree)} | {f"--{name}" for name in fields}
    bare = {name for name, kinds in [*_fields(engine), *fields.items()] if "bool" in kinds} | {"headless"}
    for flag in sorted(flags):
        limits = {"choices": known[choices[flag[2:]]]} if flag[2:] in choices else {}
        parser.add_argument(flag, **({"action": argparse.BooleanOptionalAction} if flag[2:] in bare else limits))
    return parser


def vllm_engine_flags() -> set[str]:
    """Flags of vLLM's engine alone."""
    return {flag for tree in source("vllm", "engine/arg_utils.py") for flag in added_flags(tree)}


def added_flags(tree: ast.Module) -> Iterator[str]:
    """Flags that a file adds to parsers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and str(a.value).startswith("--"))


def _fields(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Fields of a file's classes, as flags are spelled, with the names of their types."""
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in owner.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                kinds = {kind.id for kind in ast.walk(node.annotation) if isinstance(kind, ast.Name)}
                yield node.target.id.replace("_", "-"), kinds


def sglang() -> argparse.ArgumentParser:
    """Flags of `sglang.launch_server`: every field of its argument groups, aliases and choices included."""
    parser = argparse.ArgumentParser(prog="sglang.launch_server", exit_on_error=False, allow_abbrev=False)
    groups = source("sglang", "srt/arg_groups/fields/*.py")
    known = literals(source("sglang", "srt/arg_groups/choices.py"))
    for tree in groups:
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)):
            assert isinstance(node.target, ast.Name)
            name, calls = node.target.id, [n for n in ast.walk(node.annotation) if isinstance(n, ast.Call)]
            told = {word.arg: word.value for call in calls for word in call.keywords}
            aliases = [x.value for x in getattr(told.get("aliases"), "elts", [])]
            kinds = {n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
            bare = "bool" in kinds and isinstance(node.value, ast.Constant) and not node.value.value
            kept = told.get("choices")
            limits = known.get(kept.id) if isinstance(kept, ast.Name) else [x.value for x in getattr(kept, "elts", [])]
            more = {"action": "store_true"} if bare else {"choices": limits or None}
            parser.add_argument(f"--{name.replace('_', '-')}", *aliases, **more)
    return parser


def lmdeploy() -> argparse.ArgumentParser:
    """Flags of `lmdeploy serve api_server`: what its commands add, with choices, types and flags without a value."""
    parser = argparse.ArgumentParser(prog="lmdeploy serve api_server", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("model_path")
    kinds: dict[str, type] = {"int": int, "float": float}
    seen: set[str] = set()
    for tree in source("lmdeploy", "cli/utils.py", "cli/serve.py"):
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)):
            names = [str(a.value) for a in node.args if isinstance(a, ast.Constant) and str(a.value).startswith("--")]
            if node.func.attr != "add_argument" or not names or seen & set(names):
                continue
            seen |= set(names)
            told = {word.arg: word.value for word in node.keywords}
            if isinstance(told.get("action"), ast.Constant):
                parser.add_argument(*names, action="store_true")
                continue
            kind, choices = told.get("type"), [x.value for x in getattr(told.get("choices"), "elts", [])]
            limits = {"type": kinds[kind.id]} if isinstance(kind, ast.Name) and kind.id in kinds else {}
            several = {"nargs": "*"} if "nargs" in told else {}
            parser.add_argument(*names, **limits, **several, **({"choices": choices} if choices else {}))
    return parser


KINDS: dict[str, type] = {"int": int, "float": float, "str": str}


def trtllm() -> argparse.ArgumentParser:
    """Options of `trtllm-serve serve` as `tests/parsers/trtllm.toml` records them."""
    parser = argparse.ArgumentParser(prog="trtllm-serve serve", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("model")
    recorded = tomllib.loads((Path(__file__).parent / "parsers" / "trtllm.toml").read_text(encoding="utf-8"))
    for name, kind in recorded["options"].items():
        if kind == "flag":
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(name, **({"choices": kind} if isinstance(kind, list) else {"type": KINDS[kind]}))
    return parser


C_OPTION = re.compile(
    r"common_arg\(\s*\{(?P<names>[^}]*)\},\s*(?P<between>.*?)"
    r"\[\w*\]\(common_params &[^,)]*(?P<value>,[^)]*)?\)",
    re.DOTALL,
)
"""An option of llama.cpp: names, a hint of its value and its help, and what its handler takes beside the settings."""


def llama_cpp() -> argparse.ArgumentParser:
    """Options of `llama-server` from `common/arg.cpp`, which `make test-export` lays beside the environment."""
    file = Path(sys.prefix) / "llama.cpp" / "arg.cpp"
    if not file.is_file():
        pytest.skip("the source of llama.cpp is not there; make test-export lays it beside")
    text = file.read_text(encoding="utf-8")
    parser = argparse.ArgumentParser(prog="llama-server", exit_on_error=False, allow_abbrev=False, add_help=False)
    caches = re.search(r"kv_cache_types = \{([^}]*)\}", text)
    assert caches is not None
    types = [name.lower() for name in re.findall(r"GGML_TYPE_(\w+)", caches[1])]
    seen: set[str] = set()
    for option in C_OPTION.finditer(text):
        names = [name for name in re.findall(r'"(-[^"]+)"', option["names"]) if name not in seen]
        seen |= set(names)
        opposite = re.match(r"\s*\{([^}]*)\}", option["between"])
        if not names:
            continue
        if opposite or not option["value"]:
            no = [name for name in re.findall(r'"(-[^"]+)"', opposite[1] if opposite else "") if name not in seen]
            seen |= set(no)
            parser.add_argument(*names, *no, action="store_true", dest=names[-1])
            continue
        listed = re.match(r'\s*"\{([^}]*)\}"', option["between"])
        choices = types if "--cache-type" in names[-1] else listed[1].split(",") if listed else None
        kind = int if re.search(r"\bint\b", option["value"]) else str
        parser.add_argument(*names, type=kind, choices=choices, dest=names[-1])
    return parser
