"""Comptroller's own gateway: the plan as it is, and a configuration that says where its services are.

`comptroller serve gateway.toml`. Own services stand at the names that Kubernetes manifests and Compose files give them,
replica by replica; the URL of an API, and the variable that holds its key, are the user's to fill in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from comptroller.export import PORT, ServiceLaunch, service_launches
from comptroller.planning.ground.plan_document import OfferService, Plan


def files(plan: Plan) -> dict[str, str]:
    """The configuration, and the plan it names."""
    tables = [*_own(plan), *(_offer_table(offer) for offer in plan.offers)]
    head = ["# comptroller serve gateway.toml", 'plan = "plan.json"']
    if plan.services:
        head.append(f"site = {json.dumps(plan.services[0].deployment.site)}")
    return {"gateway.toml": "\n".join([*head, *tables]) + "\n", "plan.json": plan.to_json()}


def _own(plan: Plan) -> Iterator[str]:
    for run in service_launches(plan) if plan.services else ():
        settings = {
            **_address(run),
            "model": run.model_name,
            "context_tokens": run.service.deployment.engine.context_tokens,
            "max_in_flight": run.pool.replicas * run.service.deployment.engine.max_batch,
        }
        yield _table(run.service.id, settings)


def _address(run: ServiceLaunch) -> dict[str, Any]:
    """One URL, or one for each replica: the gateway chooses among them by the plan's routing policy."""
    if not run.routing:
        return {"url": f"http://{run.name}:{PORT}/v1"}
    return {"urls": [f"http://{name}:{PORT}/v1" for name in run.replica_names]}


def _offer_table(offer: OfferService) -> str:
    settings: dict[str, Any] = {"url": "https://", "model": offer.model, "key_env": "API_KEY"}
    if offer.usd_per_million is not None:
        paid = zip(("input", "output"), offer.usd_per_million, strict=True)
        settings["price"] = {name: f"{usd:g}" for name, usd in paid} | {"source": offer.source}
    return _table(offer.id, settings, "fill in the provider's URL, the model's name there and the key's variable")


def _table(name: str, settings: Mapping[str, Any], says: str = "") -> str:
    head = [*([f"# {says}"] if says else []), f"[services.{json.dumps(name)}]"]
    rows = (f"{key} = {_value(item)}" for key, item in settings.items() if item is not None)
    return "\n".join(["", *head, *rows])


def _value(item: Any) -> str:
    if isinstance(item, Mapping):
        inside = ", ".join(f"{key} = {_value(value)}" for key, value in item.items())
        return f"{{ {inside} }}"
    return json.dumps(item, ensure_ascii=False)
