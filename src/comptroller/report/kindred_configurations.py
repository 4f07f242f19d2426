"""The measured servers that the shipped calibration was fitted to, by their kinship to a deployment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from comptroller.costs.causes import effects
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.residual import ResidualIdentity, places
from comptroller.facts.library import SHIPPED
from comptroller.facts.measured_configurations import MeasuredConfiguration, Octaves, measured_configurations

TYPICAL_TOKENS = (1024.0, 512.0)
"""Input and output tokens of the load that distances are taken from and runs are proposed for; twice either is an
octave, which the shares of the residual hardly notice (`ResidualKernel.scales` are 1.2 to 2 octaves)."""

TYPICAL_CLIENTS = 16.0
"""Requests in flight of that load; twice as many are an octave, likewise."""

SHOWN = 2
"""Sources that are named; twice as many would fill a line of a terminal by themselves."""


@dataclass(frozen=True, slots=True)
class KindredConfigurations:
    """Measured configurations of one kind of kinship to a deployment."""

    name: str
    found: tuple[MeasuredConfiguration, ...]
    place: Octaves

    @property
    def rows(self) -> int:
        """Measured runs among them."""
        return sum(one.rows for one in self.found)

    @property
    def dates(self) -> str:
        """First and last day, month or year of measurement, as far as they are stated."""
        first, last = (
            sorted(filter(None, ends)) for ends in ([x.first for x in self.found], [x.last for x in self.found])
        )
        return "" if not first else first[0] if first[0] == last[-1] else f"{first[0]} to {last[-1]}"

    @property
    def octaves(self) -> float | None:
        """Distance of the nearest in load and devices."""
        return round(min(one.octaves(self.place) for one in self.found), 2) if self.found else None

    @property
    def sources(self) -> str:
        """Where they were read, those with most rows first."""
        rows = Counter[str]()
        for one in self.found:
            rows[one.source.partition(",")[0]] += one.rows
        names = [name for name, _ in rows.most_common()]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        return ", ".join(names[:SHOWN]) + more


def _place(replica: ModelReplica) -> Octaves:
    one = np.ones(1)
    clients, prompt, output, devices, *_ = places(
        replica, TYPICAL_CLIENTS * one, TYPICAL_TOKENS[0] * one, TYPICAL_TOKENS[1] * one
    )[0].tolist()
    return clients, prompt, output, devices


def kinship(replica: ModelReplica) -> tuple[KindredConfigurations, ...]:
    """What the shipped calibration was fitted to, nearest kin first; each configuration stands once.

    A build is an engine of one generation: an old build's runs tell of it through its effects alone. Of what is
    farther than another vendor's accelerators only the vendor's own count, whose effects they share.
    """
    own, place = ResidualIdentity.of(replica), _place(replica)
    left_over, kin = list(measured_configurations()), list[KindredConfigurations]()
    vendors = {x.id: x.vendor for x in map(SHIPPED.accelerator, {one.accelerator for one in left_over})}

    def take(name: str, *wanted: Callable[[MeasuredConfiguration], bool]) -> None:
        found = tuple(one for one in left_over if all(test(one) for test in wanted))
        left_over[:] = [one for one in left_over if one not in found]
        kin.append(KindredConfigurations(name, found, place))

    def build(one: MeasuredConfiguration) -> bool:
        return (one.engine, one.generation) == (own.engine, replica.engine.generation)

    def model(one: MeasuredConfiguration) -> bool:
        return one.architecture == own.architecture

    def device(one: MeasuredConfiguration) -> bool:
        return one.accelerator == own.accelerator

    def form(one: MeasuredConfiguration) -> bool:
        return one.formats == own.formats

    take("this build, model, formats and accelerator", build, model, device, form)
    take("this build and model, other formats or accelerator", build, model)
    take("this build on this accelerator, other models", build, device)
    take("this model on this accelerator, other engines or builds", model, device)
    take("this model elsewhere, other engines or builds", model)
    take("this accelerator, other engines, builds and models", device)
    vendor = replica.device.vendor
    if any(".vendor." in name for name, _ in effects(replica)):
        take(f"other accelerators of {vendor}, other models", lambda one: vendors[one.accelerator] == vendor)
    return tuple(kin)
