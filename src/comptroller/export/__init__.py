"""What a plan becomes for the tools that people run: one file per tool, whose stem is the target's id."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, resources

from comptroller import launch
from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.library import FactLibrary
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import PoolDocument, ServiceDocument

PORT = 8000
"""Where every replica listens, on all addresses; its health is at /health."""

LABEL_CHARACTERS = 40
"""Of a name, which stays a DNS label when a tool adds numbers to it."""


@dataclass(frozen=True)
class ServiceLaunch:
    """A service as a tool starts it.

    name: a DNS label, unique in the plan.  engine: the program that is started.  command: what starts a replica of the
    pool, as the plan has it.  nodes: that one replica spans, each with `devices` accelerators.  conversion: how its
    weights are made, where no repository has them.
    """

    service: ServiceDocument
    name: str
    engine: str
    command: str
    pool: PoolDocument
    device: Accelerator
    nodes: int
    conversion: launch.CheckpointConversion | None = None

    @property
    def devices(self) -> int:
        """Accelerators of one node that a replica takes."""
        return self.pool.tp * self.pool.pp * self.pool.dp // self.nodes

    @property
    def words(self) -> list[str]:
        """The command of one replica."""
        return self.listening(PORT)

    def listening(self, port: int) -> list[str]:
        """The command of one replica that listens on a port of all addresses."""
        return [*self.engine_words, *launch.listening(self.engine, "0.0.0.0", port)]

    @property
    def engine_words(self) -> list[str]:
        """The command of one replica as the plan has it, without an address."""
        return shlex.split(self.command)

    @property
    def model_name(self) -> str:
        """The model as its engine calls it, read off the command."""
        return launch.statement(self.command).model

    @property
    def line(self) -> str:
        """The command as a shell line; over several nodes it reads the node's $RANK and the first one's $LEADER.

        Raises:
            UnsupportedError: the engine is not known to span nodes.
        """
        joined = shlex.join(self.words)
        return joined if self.nodes == 1 else f"{joined} {launch.spread(self.engine, self.nodes)}"

    @property
    def image(self) -> str:
        """The engine's container image for the device.

        Raises:
            UnsupportedError: none of its version is known, or the weights have to be made first.
        """
        container = launch.image(self.engine, self.device, self.service.deployment.engine.version)
        self.require_repository()
        return container

    def require_repository(self) -> None:
        """Refuse weights that no repository has: a container would not find them.

        Raises:
            UnsupportedError: they have to be made; says how.
        """
        if self.conversion is not None:
            raise UnsupportedError(
                f"{self.service.id}: no repository with its weights is known; make them, upload them and plan with "
                f"that repository, or export to commands: {self.conversion.command}"
            )

    @property
    def routing(self) -> str:
        """The policy that chooses among the replicas; empty where there is one."""
        chosen = dict(self.service.deployment.policies).get("routing", "")
        return chosen if self.pool.replicas > 1 else ""

    def routed_as(self, known: Mapping[str, str], tool: str) -> str:
        """What a tool that chooses among the replicas calls the plan's policy; empty where there is one replica.

        known: policies that the tool has, by id.

        Raises:
            UnsupportedError: it has no such policy.
        """
        if self.routing and self.routing not in known:
            raise UnsupportedError(
                f"{self.service.id}: {tool} does not choose among {self.pool.replicas} replicas by {self.routing}, for "
                f"which the plan was proven; plan with routing = {' or '.join(sorted(known))} under [policies]"
                f"{', or export to kubernetes and gateway' if self.pool.phase == 'mixed' else ''}"
            )
        return known.get(self.routing, "")

    @property
    def routing_says(self) -> tuple[str, ...]:
        """Who chooses among the replicas, where the tool does not."""
        if not self.routing:
            return ()
        first, *_, last = self.replica_names
        return (
            f"Among the replicas {first} to {last} the plan's {self.routing} chooses: comptroller serve gateway.toml, "
            "which --export gateway=FOLDER writes.",
        )

    @property
    def replica_names(self) -> tuple[str, ...]:
        """Names of the replicas, under which the gateway finds them; `-2` at the end would be another service."""
        return tuple(f"{self.name}-r{number}" for number in range(self.pool.replicas))

    @property
    def price(self) -> str:
        """What the plan reckons with, in words."""
        paid = self.service.price
        return f"{paid.usd_per_device_h:g} USD per device and hour, {paid.provider} {paid.term}, {paid.since}"


def targets() -> list[str]:
    """Tools that a plan can be exported to, sorted."""
    folder = resources.files(__name__)
    return sorted(x.name[:-3] for x in folder.iterdir() if x.name.endswith(".py") and x.name[0] != "_")


def export(target: str, plan: Plan) -> dict[str, str]:
    """Files for a tool: text by name.

    Raises:
        UnknownIdError: there is no such target.
        UnsupportedError: the tool cannot run what the plan asks for; says which service and why.
    """
    if target not in targets():
        raise UnknownIdError("export target", target, targets())
    found: dict[str, str] = import_module(f"{__name__}.{target}").files(plan)
    return found


def service_launches(plan: Plan) -> tuple[ServiceLaunch, ...]:
    """The services of a plan on own accelerators, named.

    Raises:
        UnsupportedError: everything is bought from APIs, or a service splits prefill from decode.
    """
    found = pool_launches(plan)
    for first, *others in found:
        if others:
            raise UnsupportedError(
                f"{first.service.id}: prefill and decode run in pools of their own, which need a router that passes "
                "caches on; export it to llm_d or dynamo, which bring one"
            )
    return tuple(first for first, *_ in found)


def pool_launches(plan: Plan) -> tuple[tuple[ServiceLaunch, ...], ...]:
    """Each service of a plan on own accelerators, named, pool by pool: one, or prefill and decode apart.

    Raises:
        UnsupportedError: everything is bought from APIs, a service is a what-if, has pools of one phase alone, or
            policies that its engine is not known to follow.
    """
    if not plan.services:
        raise UnsupportedError(f"{plan.name}: all tokens are bought from APIs, there is nothing to start")
    names: Counter[str] = Counter()
    return tuple(tuple(_launches_of(service, plan.library, names)) for service in plan.services)


def _launches_of(service: ServiceDocument, library: FactLibrary, names: Counter[str]) -> Iterator[ServiceLaunch]:
    pools, commands = service.deployment.pools, service.launch.splitlines()
    for command in commands:
        if command.startswith(launch.WHAT_IF):
            raise UnsupportedError(f"{service.id}: {command.removeprefix('# ')}")
    if [pool.phase for pool in pools] not in (["mixed"], ["prefill", "decode"]):
        raise UnsupportedError(f"{service.id}: a service has one pool that does both, or prefill and decode")
    if service.deployment.cache_tiers:
        raise UnsupportedError(
            f"{service.id}: blocks that devices evict go to cache tiers, which no export sets up; plan without "
            "cache_tiers, or add the engine's connector to the line of the plan"
        )
    for pool in pools:
        if pool.clock_mhz or pool.power_limit_w:
            raise UnsupportedError(
                f"{service.id}: a locked clock or a power limit is set on nodes, which no export does; plan without "
                "allow.clock_mhz and allow.power_limit_w, or set them by the note in the plan"
            )
    base = slug(f"{service.deployment.model}-{pools[0].accelerator}")
    names[base] += 1
    name = base if names[base] == 1 else f"{base}-{names[base]}"
    engine = library.engine(service.deployment.engine.id).launched_as
    _require_policies(service, engine, commands)
    for pool, command in zip(pools, commands, strict=True):
        device = library.accelerator(pool.accelerator)
        conversion = _conversion_of(service, pool, library)
        yield ServiceLaunch(service, name, engine, command, pool, device, nodes_of(pool, device), conversion)


def _require_policies(service: ServiceDocument, engine: str, commands: list[str]) -> None:
    """Refuse a service whose lines do not batch and schedule as it was planned."""
    words = launch.policy_words(engine, dict(service.deployment.policies))
    for command in commands:
        if missing := [word for word in words if word not in shlex.split(command)]:
            raise UnsupportedError(f"{service.id}: its line lacks {' '.join(missing)} of its policies; plan again")


def _conversion_of(
    service: ServiceDocument, pool: PoolDocument, library: FactLibrary
) -> launch.CheckpointConversion | None:
    """How the files are made that the plan's own command loads; none where it loads a repository."""
    found = launch.checkpoint(replica_of_pool(service.deployment, pool, library)).conversion
    return found if found and found.path in shlex.split(service.launch, comments=True) else None


def slug(text: str) -> str:
    """A DNS label.

    >>> slug("llama_3_1_70b-h100_sxm")
    'llama-3-1-70b-h100-sxm'
    """
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LABEL_CHARACTERS].rstrip("-")
    return found if found[:1].isalpha() else f"s-{found}"


def nodes_of(pool: PoolDocument, device: Accelerator) -> int:
    """Nodes that one replica spans.

    Raises:
        UnsupportedError: its devices do not fill whole nodes.
    """
    devices = pool.tp * pool.pp * pool.dp
    nodes = -(-devices // device.node_devices)
    if devices % nodes:
        raise UnsupportedError(f"{devices} x {device.id} do not divide into nodes of {device.node_devices}")
    return nodes
