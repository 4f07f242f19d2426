"""One resolver: every name at every door, and plans that carry what was resolved."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from comptroller.cli import application
from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.library import RESOLVERS, SHIPPED, FactLibrary, resolve
from comptroller.facts.reader import CATALOGUE, folder, ids
from comptroller.planning.ground.plan_document import load_plan
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.write.facts import facts_of
from comptroller.work.workload import load, parse

SHIPPED_FACTS = [(kind, id) for kind in RESOLVERS for id in ids(kind)]

CHAT: dict[str, Any] = {
    "name": "chat",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 2.0,
    "objectives": {"ttft": {"max": 2000.0, "unit": "ms"}, "tpot": {"max": 80.0, "unit": "ms"}},
    "lengths": {"input_edges": [1, 256, 1024], "output_edges": [1, 64, 256], "weights": [[2, 3], [3, 6]]},
    "allow": {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["bf16"]},
}

LLAMA = dict(SHIPPED.entry("models", "llama_3_1_8b").content["config"])


def run(*words: str) -> Result:
    return CliRunner().invoke(application(words), list(words))


def toml(document: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for key, table in document.items():
        if isinstance(table, dict):
            cells = {k: v for k, v in table.items() if not isinstance(v, dict)}
            lines += [f"[{key}]", *(f"{k} = {json.dumps(v)}" for k, v in cells.items())]
            for inner, deep in ((k, v) for k, v in table.items() if isinstance(v, dict)):
                lines += [f"[{key}.{inner}]", *(f"{k} = {json.dumps(v)}" for k, v in deep.items())]
    return "\n".join(lines) + "\n"


def figures(document: Any) -> Any:
    """A plan without what names and says where things come from."""
    plain = document.model_dump(mode="json", exclude={"digests", "facts", "name", "prices"})
    return re.sub(r'"launch": "[^"]*"', "", json.dumps(plain))


@pytest.mark.parametrize(("kind", "id"), SHIPPED_FACTS)
def test_a_copy_of_a_shipped_file_is_that_fact(kind: str, id: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_bytes((folder(kind) / f"{id}.toml").read_bytes())
    found, shipped = resolve(kind, "mine.toml", tmp_path), resolve(kind, id)
    assert (found.id, found.digest, found.origin) == (id, shipped.digest, "mine.toml")
    assert shipped.origin == CATALOGUE


@pytest.mark.parametrize(("kind", "id"), SHIPPED_FACTS)
def test_a_fact_survives_its_journey_in_a_document(kind: str, id: str) -> None:
    entry = resolve(kind, id)
    library = FactLibrary((type(entry)(**json.loads(json.dumps(vars(entry)))),), complete=True)
    read = {"models": "model", "accelerators": "accelerator", "formats": "format", "engines": "engine", "sites": "site"}
    assert getattr(library, read[kind])(id) == getattr(SHIPPED, read[kind])(id)
    with pytest.raises(UnknownIdError):
        library.entry(kind, "another")


@pytest.mark.parametrize(("kind", "id"), [(kind, ids(kind)[0]) for kind in RESOLVERS])
def test_one_name_for_two_contents_is_refused_and_both_are_shown(kind: str, id: str, tmp_path: Path) -> None:
    own = tmp_path / f"{id}.toml"
    text = (folder(kind) / f"{id}.toml").read_text(encoding="utf-8")
    own.write_text(re.sub(r'^name = ".*"', 'name = "changed"', text, count=1, flags=re.MULTILINE), encoding="utf-8")
    with pytest.raises(FactError, match=r"two \w+ of one name .*catalogue .*differ in name"):
        resolve(kind, str(own))


@pytest.mark.parametrize(
    ("name", "id", "repository", "weights"),
    [
        ("qwen3_32b", "qwen3_32b", "Qwen/Qwen3-32B", "bf16"),
        ("QWEN3-32B", "qwen3_32b", "Qwen/Qwen3-32B", "bf16"),
        ("qwen/qwen3-32b", "qwen3_32b", "Qwen/Qwen3-32B", "bf16"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama_3_1_8b", "meta-llama/Llama-3.1-8B-Instruct", "bf16"),
        ("Llama-3.1-8B-Instruct", "llama_3_1_8b", "meta-llama/Llama-3.1-8B-Instruct", "bf16"),
        ("Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-FP8", "fp8_block"),
        ("Qwen/Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ", "Qwen/Qwen3-32B-AWQ", "int4_awq_g128"),
        ("nvidia/Qwen3-32B-NVFP4", "nvidia/Qwen3-32B-NVFP4", "nvidia/Qwen3-32B-NVFP4", "nvfp4"),
        ("unsloth/gpt-oss-120b-BF16", "unsloth/gpt-oss-120b-BF16", "unsloth/gpt-oss-120b-BF16", "bf16"),
        (
            "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
            "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
            "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
            "fp8_block",
        ),
    ],
)
def test_repositories_in_every_spelling(name: str, id: str, repository: str, weights: str) -> None:
    found = model(name)
    assert (found.id, found.repository, found.weights) == (id, repository, weights)


def test_what_a_name_is_trusted_for_is_said() -> None:
    found = model("somebody/Qwen3-32B-Instruct-2611-AWQ")
    assert "read as Qwen/Qwen3-32B by its name" in found.doubt
    assert not model("Qwen/Qwen3-32B-AWQ").doubt


def test_an_unknown_name_says_in_one_line_what_is_accepted() -> None:
    with pytest.raises(UnknownIdError) as caught:
        model("nobody/nothing")
    said = str(caught.value)
    assert "accepted: an id of `comptroller show models`, a Hugging Face repository" in said
    assert "\n" not in said


def test_every_shipped_fact_under_another_name_plans_alike(tmp_path: Path) -> None:
    """All five kinds at once, each copied byte for byte, named by path in a workload."""
    allow = dict(CHAT["allow"])
    for kind, key in (("accelerators", "h100_sxm"), ("sites", "us_neocloud"), ("engines", "vllm"), ("formats", "bf16")):
        (tmp_path / f"my_{kind}.toml").write_bytes((folder(kind) / f"{key}.toml").read_bytes())
        allow[kind] = [f"my_{kind}.toml"]
    (tmp_path / "my_models.toml").write_bytes((folder("models") / "llama_3_1_8b.toml").read_bytes())
    (tmp_path / "w.toml").write_text(toml({**CHAT, "models": ["my_models.toml"], "allow": allow}))
    own, shipped = load(tmp_path / "w.toml"), parse(CHAT)
    assert figures(plan(own, rehearsal=None)) == figures(plan(shipped, rehearsal=None))


@pytest.mark.parametrize("how", ["file", "folder", "repository"])
def test_an_own_model_plans_and_equals_the_plan_by_id(how: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(LLAMA))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(LLAMA))
    name = {"file": "mine.json", "folder": "mine", "repository": "meta-llama/Llama-3.1-8B-Instruct"}[how]
    (tmp_path / "w.toml").write_text(toml({**CHAT, "models": [name]}))
    made, by_id = plan(load(tmp_path / "w.toml"), rehearsal=None), plan(parse(CHAT), rehearsal=None)
    assert re.sub(r"\bmine\b", "llama_3_1_8b", figures(made)) == figures(by_id)
    (service,) = made.services
    assert (
        service.launch.split()[2]
        == {"file": "mine", "folder": str(tmp_path / "mine"), "repository": "meta-llama/Llama-3.1-8B-Instruct"}[how]
    )


def test_a_plan_needs_no_look_up_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own files are gone and the folder is another: the plan is shown, exported and simulated all the same."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "mine.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": 20}))
    text = (folder("accelerators") / "h100_sxm.toml").read_text(encoding="utf-8")
    (home / "my_card.toml").write_text('kernels_of = "h100_sxm"\n' + text.replace("value = 80,", "value = 94,", 1))
    site = (folder("sites") / "us_neocloud.toml").read_text(encoding="utf-8")
    (home / "my_site.toml").write_text(site.replace('"h100_sxm"', '"my_card"'))
    engine = (folder("engines") / "vllm.toml").read_text(encoding="utf-8")
    (home / "my_engine.toml").write_text('program = "vllm"\n' + engine.replace("max_batch = 1024", "max_batch = 96"))
    allow = {"accelerators": ["my_card.toml"], "sites": ["my_site.toml"], "engines": ["my_engine.toml"]}
    (home / "w.toml").write_text(toml({**CHAT, "models": ["mine.json"], "allow": allow}))
    monkeypatch.chdir(home)
    made = run("plan", "w.toml", "--out", "plan.json")
    assert made.exit_code == 0, made.output
    (elsewhere / "plan.json").write_bytes((home / "plan.json").read_bytes())
    monkeypatch.chdir(elsewhere)
    for file in home.iterdir():
        os.remove(file)
    (elsewhere / "t.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        + "".join(f"2026-01-01 00:00:{second:02d}.0,{100 + second},{20 + second}\n" for second in range(50))
    )
    for words in (
        ("show", "plan", "plan.json"),
        ("show", "plan", "plan.json", "--export", "kubernetes=k8s"),
        ("simulate", "plan.json", "--trace", "t.csv"),
    ):
        used = run(*words)
        assert used.exit_code == 0, used.output
    (service,) = load_plan(Path("plan.json")).services
    assert (service.deployment.engine.id, service.deployment.engine.max_batch) == ("my_engine", 96)
    assert service.launch.startswith("vllm serve mine ")


def test_what_travels_is_what_was_read_though_the_file_changed_since(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(LLAMA))
    (tmp_path / "w.toml").write_text(toml({**CHAT, "models": ["mine.json"]}))
    loaded = load(tmp_path / "w.toml")
    (tmp_path / "mine.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": 8}))
    made = plan(loaded, rehearsal=None)
    assert made.library.model("mine").layers == LLAMA["num_hidden_layers"]
    assert tuple(facts_of(made.services, made.library, shipped_calibration())) == made.facts


def test_an_own_engine_says_what_program_it_is(tmp_path: Path) -> None:
    text = (folder("engines") / "vllm.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("max_batch = 1024", "max_batch = 96"))
    with pytest.raises(FactError, match=r"program: the engine that this file has other settings of .*sglang.*vllm"):
        engine_facts(str(tmp_path / "mine.toml"))


def test_two_own_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "mine.json").write_text(json.dumps(LLAMA))
    (tmp_path / "other" / "mine.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": 8}))
    (tmp_path / "w.toml").write_text(toml({**CHAT, "models": ["mine.json", "other/mine.json"]}))
    with pytest.raises(FactError, match=r"two models of one name .*mine\.json .*mine\.json .*differ in config"):
        load(tmp_path / "w.toml")


TEN_NAMES = (
    *("llama_3_1_8b", "LLAMA-3.1-8B", "Llama-3.1-8B-Instruct", "meta-llama/meta-llama-3.1-8b"),
    *("nvidia/Llama-3.1-8B-Instruct-FP8", "somebody/Llama-3.1-8B-Instruct-2511"),
    *("mine.json", "mine", "mine/config.json", "my_llama.toml"),
)


@pytest.mark.parametrize("name", TEN_NAMES)
def test_every_door_takes_the_same_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps(LLAMA))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "my_llama.toml").write_bytes((folder("models") / "llama_3_1_8b.toml").read_bytes())
    shown = run("show", "model", name, "--json")
    assert shown.exit_code == 0, shown.output
    values = {row["field"]: row["value"] for row in json.loads(shown.stdout)}
    assert values["total_params"] == pytest.approx(8.03e9, rel=0.01)
    assert model(name).total_params == values["total_params"]
    fitting = run("fits", name, "H100-SXM", "--json")
    assert fitting.exit_code == 0, fitting.output
    (tmp_path / "w.toml").write_text(toml({**CHAT, "models": [name], "allow": {**CHAT["allow"], "formats": []}}))
    (tmp_path / "today.toml").write_text(
        f'[[services]]\nmodel = "{name}"\naccelerator = "H100-SXM"\nsite = "us_neocloud"\nreplicas = 2\n'
    )
    planned = run("plan", "w.toml", "--against", "today.toml", "--json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["plan"]["services"][0]["deployment"]["model"] == model(name).id
