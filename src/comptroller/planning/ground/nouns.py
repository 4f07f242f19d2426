"""The nouns of planning, each defined here and nowhere else.

`Demand` is what arrives, `Goal` what is minimised and within what, `Deployment` one way to serve, `Option` one to
answer, `Market` what deployments carry and cost, `Fleet` the answer of the program, `Trial` a simulated fleet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from math import prod

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import LatencyTarget
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.split_pools import SplitPools
from comptroller.facts.site import AcceleratorOffer, Site
from comptroller.launch import weights_label
from comptroller.planning.ground.deployment_levers import DeploymentLevers
from comptroller.planning.ground.limit_names import AVAILABLE
from comptroller.planning.ground.strategy_plays import StrategyPlay
from comptroller.planning.ground.way_freedom import WayFreedom

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

AxisValues = Mapping[str, frozenset[str]]
"""The values of a choice on every axis (accelerator, format, strategy, ...)."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is minimised and within what: everything that a shadow price may move.

    objective: one of `OBJECTIVES`, per hour.  targets: latency objectives.  demand: factor on the rate that fleets are
    sized with.  limits: most of each (`LIMITS`, or `cap` and the id of an accelerator, or `available` and an offer) in
    every hour.  over_day: most of an objective over all hours.  spare: units in reserve for each deployment in use.
    quality: least share of questions solved, by class; the empty name stands for all.  most_use: share of the time that
    a replica may be busy.  most_kinds: of deployments in a fleet, no limit if not given.  kind_usd_per_h: what every
    further kind counts for in the choice of a fleet that costs dollars.  ways: how freely they differ between classes.
    """

    objective: str
    targets: tuple[LatencyTarget, ...] = ()
    demand: float = 1.0
    limits: tuple[tuple[str, float], ...] = ()
    spare: int = 0
    quality: tuple[tuple[str, float], ...] = ()
    over_day: tuple[tuple[str, float], ...] = ()
    most_use: float = 1.0
    most_kinds: int | None = None
    kind_usd_per_h: float = 0.0
    ways: WayFreedom = WayFreedom.MIX_EACH

    @property
    def sizing(self) -> float:
        """Factor on the calls that units are sized with: more demand, and no replica busier than it may be."""
        return self.demand / self.most_use

    @property
    def asked(self) -> Goal:
        """The same with every objective aimed at as it was asked."""
        return self.aimed(1.0)

    def aimed(self, share: float) -> Goal:
        """The same with every objective sized for a share of what was asked."""
        return replace(self, targets=tuple(replace(target, aim=share) for target in self.targets))

    def price_of_kinds(self, kinds: int) -> float:
        """What so many kinds of deployments count for in the choice, beside what they cost."""
        return self.kind_usd_per_h * max(kinds - 1, 0) if self.objective == "usd" else 0.0


@dataclass(frozen=True, slots=True)
class DeferrableLoad:
    """Work that may wait: requests released by hour, hours within which it is done, interactive share it saves."""

    name: str
    released: Floats
    window_h: int
    saves: float | None = None


@dataclass(frozen=True)
class Demand:
    """What arrives, by hour and class of questions; requests are one class in one hour.

    rate_per_s: questions or requests per second in the busiest hour.  classes: names, the empty one for all.  weight:
    (classes,), shares of the traffic.  load: (hours,), the rate of each hour over the busiest.  works: what may wait.
    factor: (hours,), how much larger an hour is sized than the goal's demand says; 1 where not given.
    """

    rate_per_s: float
    classes: tuple[str, ...] = ("",)
    weight: Floats = field(default_factory=lambda: np.ones(1))
    load: Floats = field(default_factory=lambda: np.ones(1))
    works: tuple[DeferrableLoad, ...] = ()
    factor: Floats | None = None

    @property
    def hours(self) -> int:
        """How many hours there are."""
        return len(self.load)

    @property
    def sizing(self) -> Floats:
        """(hours,): the factor of every hour."""
        return np.ones(self.hours) if self.factor is None else self.factor

    @property
    def works_per_s(self) -> Floats:
        """(works,): requests per second of each work if all of a day's were done in one hour."""
        return np.array([work.released.sum() / 3600.0 for work in self.works])

    def hour(self, h: int) -> Demand:
        """One hour of it alone."""
        works = tuple(replace(work, released=work.released[[h]]) for work in self.works)
        return replace(self, load=self.load[[h]], works=works, factor=self.sizing[[h]])


@dataclass(frozen=True)
class Deployment:
    """One way to serve: a replica (model, recipe, layout, engine, accelerator), its memory, its site and its price.

    pools: where prefill and decode run apart, how many replicas of each make a group, which then stands for a replica.
    chunk_tokens: budget of a step with prompts, where it is not the engine's own.
    """

    replica: ModelReplica
    memory: ReplicaMemory
    site: Site
    offer: AcceleratorOffer
    pools: SplitPools | None = None
    chunk_tokens: int | None = None

    @property
    def levers(self) -> DeploymentLevers:
        """What it does other than its engine starts by itself."""
        return DeploymentLevers.of(self.replica, self.pools, self.chunk_tokens)

    @property
    def devices(self) -> int:
        """Devices of a replica, or of a group of them."""
        return self.replica.layout.devices * (self.pools.ratio.replicas if self.pools else 1)

    @property
    def id(self) -> str:
        """Readable and unique within a plan; its name everywhere."""
        replica = self.replica
        formats = "_".join(dict.fromkeys((replica.recipe.weights, replica.recipe.experts, replica.recipe.kv)))
        layout = str(replica.layout).replace("-", "")
        pack = f".x{self.offer.devices}" if self.offer.devices > 1 else ""
        few = "" if self.offer.available is None else f".{'_'.join(self.seller.lower().split())}"
        where = f"{replica.engine.id}.{self.site.id}.{self.offer.term}{pack}{few}"
        return f"{replica.model.id}.{replica.device.id}.{layout}.{formats}{self.levers.suffix}.{where}"

    @property
    def seller(self) -> str:
        """Who rents it out, and as which instance."""
        return " ".join(filter(None, (self.offer.provider, self.offer.instance)))

    @property
    def capacity(self) -> str:
        """The name of the limit that what is available sets; all that is rented by this offer counts for it."""
        return f"{AVAILABLE}{self.seller} {self.offer.accelerator} {self.offer.term} at {self.site.id}"

    @property
    def label(self) -> str:
        """It in one line: model, formats, devices, layout, engine, place and term."""
        replica = self.replica
        few = "" if self.offer.available is None else f" of {self.seller}"
        return (
            f"{replica.model.id} {weights_label(replica)}/kv {replica.recipe.kv} on {self.devices}x "
            f"{replica.device.id} {replica.layout}{self.levers.label} {replica.engine.id} @ {self.site.id} "
            f"{self.offer.term}{few}"
        )

    @property
    def usd_per_h(self) -> float:
        """Dollars per hour of one replica: what must be rented to have its devices, shared if it divides."""
        devices, pack = self.devices, self.offer.devices
        rented = devices if pack % devices == 0 else -(-devices // pack) * pack
        return self.offer.usd_per_s * 3600.0 * rented

    @cached_property
    def axes(self) -> dict[str, str]:
        """The value of this choice on every axis that a runner-up may differ in."""
        return {
            "model": self.replica.model.id,
            "accelerator": self.replica.device.id,
            "layout": str(self.replica.layout),
            **self.levers.axes,
            "format": str(self.replica.recipe),
            "engine": self.replica.engine.id,
            "site": self.site.id,
            "term": self.offer.term,
        }

    def with_batch(self, max_batch: int) -> Deployment:
        """The same with the engine's batch capped."""
        return replace(self, replica=replace(self.replica, engine=replace(self.replica.engine, max_batch=max_batch)))


@dataclass(frozen=True)
class Option:
    """One way to answer: a strategy played by models, and for each model its route, `api` or `own` devices."""

    play: StrategyPlay
    routes: Mapping[int, str]
    axes: AxisValues

    @property
    def own(self) -> frozenset[int]:
        """The models that own devices serve."""
        return frozenset(model for model, route in self.routes.items() if route == "own")

    def usd(self, questions: int) -> Floats:
        """(questions,): dollars paid to APIs for each question."""
        calls = self.play.calls
        bought = np.array([self.routes[model] == "api" for model in calls.model.tolist()], bool)
        return np.asarray(np.bincount(calls.question[bought], calls.usd[bought], questions), float)


@dataclass(frozen=True)
class Market:
    """What deployments of one model carry and cost: columns j over hours h.

    Rows of loads are one call per second of each bucket of sizes, then one request per second of each of `works`.
    rows: (j,), places in the table of evaluated deployments.  load: (matrices, loads, j), units of j that each load
    takes, by every matrix; inf where it cannot run.  usd: (h, j), dollars of a unit and hour.  grid: (h, j), gCO2e per
    joule.  idle_j: (j,), joules of an idle unit and hour.  added_j, added_usd: (loads, j), what a load adds in an hour.
    takes: by name of a limit, (j,), what a unit takes of it.  all_day: (j,), rented for the whole day.  standing: share
    of the time that a unit stands.  lost: share of j's units that one interruption takes.
    """

    rows: Ints
    load: Floats
    usd: Floats
    grid: Floats
    idle_j: Floats
    added_j: Floats
    added_usd: Floats
    takes: Mapping[str, Floats]
    all_day: Bools
    standing: Floats
    lost: Floats
    works: tuple[str, ...] = ()

    @property
    def buckets(self) -> int:
        """How many sizes of calls there are."""
        return int(self.load.shape[1]) - len(self.works)

    def row(self, work: str) -> int:
        """The load that a work is."""
        return self.buckets + self.works.index(work)

    @property
    def fits(self) -> Bools:
        """(loads, j): whether the load can run there."""
        return np.asarray(np.isfinite(self.load).all(axis=0))

    @property
    def finite(self) -> Floats:
        """The loads, 0 where they cannot run."""
        return np.where(self.fits, self.load, 0.0)

    def only(self, columns: Bools | Ints) -> Market:
        """Some columns."""
        last = ("rows", "load", "usd", "grid", "idle_j", "added_j", "added_usd", "all_day", "standing", "lost")
        takes = {name: weights[columns] for name, weights in self.takes.items()}
        return replace(self, takes=takes, **{name: getattr(self, name)[..., columns] for name in last})

    def unit(self, objective: str) -> Floats:
        """(h, j): a unit and hour in the objective, while it stands."""
        per_unit = {"usd": self.usd, "j": self.idle_j + 0 * self.usd, "gco2e": self.idle_j * self.grid}[objective]
        return np.asarray(per_unit * self.standing)

    def added(self, objective: str) -> Floats:
        """(h, loads, j): what a load adds in an hour, in the objective."""
        if objective == "gco2e":
            return self.added_j * self.grid[:, None, :]
        per_load = {"usd": self.added_usd, "j": self.added_j}[objective]
        return np.broadcast_to(per_load, (len(self.usd), *per_load.shape))

    @cached_property
    def digest(self) -> bytes:
        """Equal where all of it is."""
        sha = sha256()
        arrays = [getattr(self, item.name) for item in fields(self) if item.name not in ("takes", "works")]
        for array in (*arrays, *(self.takes[name] for name in sorted(self.takes))):
            sha.update(f"{array.shape}{array.dtype}".encode() + np.ascontiguousarray(array).tobytes())
        return sha.digest()


@dataclass(frozen=True)
class Fleet:
    """The answer of the program: what is rented by hour and deployment, and who answers what.

    share: (h, classes, options), of the hour's interactive questions.  later: (h, classes, options), questions per
    second that waited.  units: by model, (h, deployments).  calls_per_s: by model, (h, buckets, deployments),
    interactive ones, at the demand that the fleet is sized for.  done: (h, works), shares of a day's work.  work: by
    model, (h, its works, deployments), the same by deployment.  waited: by model, (h, buckets, deployments), calls per
    second of questions that waited, at the demand itself.  moved: by work, (h released, hours waited).  chosen:
    share of each work that is done.  total: `OBJECTIVES` by hour; what APIs take is in the dollars alone.  bought:
    dollars paid to APIs, by hour.  objective: per hour, or over the day.  bound: nothing that was left to choose costs
    less.  solved: share of the questions.  considered: deployments that exact bounds left to the program.
    """

    share: Floats
    later: Floats
    units: Mapping[int, Ints]
    calls_per_s: Mapping[int, Floats]
    done: Floats
    work: Mapping[int, Floats]
    moved: tuple[Floats, ...]
    chosen: Floats
    total: Mapping[str, Floats]
    bought: Floats
    objective: float
    bound: float
    solved: float = 1.0
    considered: int = 0
    waited: Mapping[int, Floats] = field(default_factory=dict)

    @property
    def kinds(self) -> int:
        """How many kinds of deployments it rents."""
        return sum(int(count.any(axis=0).sum()) for count in self.units.values())

    @property
    def key(self) -> tuple[bytes, ...]:
        """The same for fleets that do the same: shares to a millionth, and units."""
        units = [b"%d:" % model + count.tobytes() for model, count in sorted(self.units.items())]
        return (np.round(self.share, 6).tobytes(), *units)


@dataclass(frozen=True, slots=True)
class SimulatedQuantile:
    """What draws showed of one latency objective: mean over draws, its upper confidence bound, whether it holds."""

    target: LatencyTarget
    mean_s: float
    upper_s: float

    @property
    def holds(self) -> bool:
        """Whether the bound is within the objective."""
        return self.upper_s <= self.target.most_s

    @property
    def excess(self) -> float:
        """The bound as a share of the objective."""
        return self.upper_s / self.target.most_s


@dataclass(frozen=True, slots=True)
class Trial:
    """A fleet sized for a goal, with more demand or lower aims than asked, and what simulating the demand showed.

    line: the fleet in one line.  usd_per_h: its price.
    """

    goal: Goal
    fleet: Fleet
    line: str
    usd_per_h: float
    seen: tuple[SimulatedQuantile, ...]

    @property
    def holds(self) -> bool:
        """Whether every objective held."""
        return all(item.holds for item in self.seen)

    @property
    def excess(self) -> float:
        """The largest ratio of a bound to its objective."""
        return max((item.excess for item in self.seen), default=0.0)

    @property
    def shown(self) -> tuple[str, ...]:
        """The fleet and its bounds to three digits: equal ones are listed once."""
        return self.line, *(f"{item.upper_s:.3g}" for item in self.seen)

    @property
    def kinds(self) -> int:
        """How many kinds of deployments it runs."""
        return self.fleet.kinds

    @property
    def reach(self) -> tuple[float, float]:
        """How far the climb is: by what is aimed at, then by demand."""
        return 1.0 / prod(target.aim for target in self.goal.targets), self.goal.demand
