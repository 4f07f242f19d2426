"""Files of deploy/: manifests are valid, configurations are read by the gateway, and metrics are those it has."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from comptroller.gateway.config import config_from_document
from comptroller.gateway.metrics import GatewayMetrics

yaml = pytest.importorskip("yaml", reason="no PyYAML: pip install 'comptroller[test]'")
DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))


def configurations() -> list[str]:
    (made,) = (item for item in KUBERNETES if item["kind"] == "ConfigMap")
    return [(DEPLOY / "gateway.toml").read_text(encoding="utf-8"), made["data"]["gateway.toml"]]


@pytest.mark.parametrize("text", configurations(), ids=["compose", "kubernetes"])
def test_configurations_are_read_and_need_a_key(text: str) -> None:
    made = config_from_document(tomllib.loads(text))
    assert not made.loopback and made.books.startswith("postgresql://") and ":" not in made.books.split("@")[0][13:]
    assert all(item.max_output_tokens and item.context_tokens and item.price for item in made.services.values())


@pytest.mark.parametrize("document", KUBERNETES, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_manifests_hold_to_kubernetes_schemas(document: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate")
    validate.validate(document, "1.30", strict=True)


def test_what_is_mounted_selected_and_asked_for_is_there() -> None:
    of = {(item["kind"], item["metadata"]["name"]): item for item in KUBERNETES}
    pod = of["Deployment", "comptroller"]["spec"]["template"]
    assert pod["metadata"]["labels"] == of["Service", "comptroller"]["spec"]["selector"]
    (gateway,) = pod["spec"]["containers"]
    assert [gateway[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")] == ["/ready", "/health"]
    drain_s = config_from_document(tomllib.loads(configurations()[1])).drain_s
    assert pod["spec"]["terminationGracePeriodSeconds"] > drain_s
    assert COMPOSE["services"]["gateway"]["volumes"] == ["./gateway.toml:/etc/comptroller/gateway.toml:ro"]
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"]["gateway"]["ports"])


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    there = set()
    for family in GatewayMetrics().registry.collect():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        there |= {family.name + end for end in ends}
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    asked = {name for text in panels + rules for name in re.findall(r"comptroller_\w+", text)}
    assert asked and asked <= there


def test_queries_of_dashboard_and_alerts_are_promql() -> None:
    promql = pytest.importorskip("promql_parser", reason="no promql-parser")
    rules = [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    for text in (*rules, *(item.replace("$__rate_interval", "5m") for item in panels)):
        promql.parse(text)
