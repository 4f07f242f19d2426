"""What may be asked of a plan from the page: fields with their bounds, read from a query; faults beside their field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from comptroller.report.figures import number

MOST_TEXT = 40
"""Characters of a field's text that are read: a number of any use has fewer."""


@dataclass(frozen=True, slots=True)
class WhatIfBase:
    """What a workload asks as it stands, for the page to start from.

    rate_per_s: of requests or questions.  latency_s: by objective (`TTFT p95`), in seconds.  solve: least share solved.
    usd_per_device_h: the least listed price of every accelerator that may be used.
    """

    name: str
    rate_per_s: float
    latency_s: Mapping[str, float]
    solve: float | None
    usd_per_device_h: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class WhatIfQuestion:
    """A workload with some of it changed; what is as it was is left out.

    carbon_usd_per_t: dollars for a ton of CO2e, added to what a fleet costs.  accelerators: that may be used.
    """

    rate_per_s: float | None = None
    latency_s: Mapping[str, float] = field(default_factory=dict)
    solve: float | None = None
    usd_per_device_h: Mapping[str, float] = field(default_factory=dict)
    carbon_usd_per_t: float = 0.0
    accelerators: frozenset[str] | None = None

    @property
    def needs_simulation(self) -> bool:
        """Whether no fleet that was simulated can answer: other work arrives, or more of it has to be solved."""
        return self.rate_per_s is not None or self.solve is not None

    @property
    def changes_nothing(self) -> bool:
        """Whether it asks for the plan as it stands."""
        return self == WhatIfQuestion()


@dataclass(frozen=True, slots=True)
class NumberField:
    """A field for a number: its name in the query, its label and unit, its text, what is allowed, and its fault.

    start: the value that changes nothing.  scale: SI value per unit shown.
    """

    name: str
    label: str
    unit: str
    start: float
    least: float
    most: float
    text: str = ""
    scale: float = 1.0
    fault: str = ""

    @property
    def shown(self) -> str:
        """The text that stands in it."""
        return self.text or f"{self.start:.6g}"

    @property
    def hint(self) -> str:
        """What is allowed, and what stands there at first."""
        return f"{number(self.least)} to {number(self.most)}; {number(self.start)} in the workload"

    def read(self, text: str) -> NumberField:
        """The field with a text, and with its fault where the text is no number that is allowed."""
        text = text.strip()[:MOST_TEXT]
        fault = ""
        try:
            value = float(text.replace(",", ".")) if text else self.start
        except ValueError:
            value, fault = math.nan, f"{text!r} is no number"
        if not fault and not self.least <= value <= self.most:
            fault = f"{text}: allowed is {number(self.least)} to {number(self.most)} {self.unit}"
        return NumberField(self.name, self.label, self.unit, self.start, self.least, self.most, text, self.scale, fault)

    @property
    def value(self) -> float | None:
        """What it says in SI units; `None` where it changes nothing."""
        shown = float(self.shown.replace(",", "."))
        same = math.isclose(shown, float(f"{self.start:.6g}"), rel_tol=1e-9, abs_tol=1e-12)
        return None if same else shown * self.scale


@dataclass(frozen=True, slots=True)
class DeviceField:
    """A box for an accelerator that may be used."""

    accelerator: str
    checked: bool


@dataclass(frozen=True, slots=True)
class WhatIfForm:
    """All fields; device_fault: where no accelerator is left."""

    numbers: tuple[NumberField, ...]
    devices: tuple[DeviceField, ...]
    device_fault: str = ""

    @classmethod
    def of(cls, base: WhatIfBase, query: Mapping[str, str], chosen: Sequence[str]) -> WhatIfForm:
        """The form of a workload filled from a query. chosen: accelerators that are ticked, where it was sent."""
        numbers = tuple(item.read(query.get(item.name, "")) for item in number_fields(base))
        names = tuple(base.usd_per_device_h)
        unknown = sorted(set(chosen) - set(names))
        ticked = set(names) if "sent" not in query else set(chosen)
        fault = ""
        if unknown:
            fault = f"{unknown[0][:MOST_TEXT]!r} is not among what the workload allows"
        elif not ticked:
            fault = "tick at least one"
        return cls(numbers, tuple(DeviceField(name, name in ticked) for name in names), fault)

    @property
    def faults(self) -> list[str]:
        """What cannot be meant, field by field."""
        marked = [f"{item.label}: {item.fault}" for item in self.numbers if item.fault]
        return marked + ([f"accelerators: {self.device_fault}"] if self.device_fault else [])

    @property
    def question(self) -> WhatIfQuestion:
        """What is asked; only where there are no faults."""
        values = {item.name: value for item in self.numbers if (value := item.value) is not None}
        ticked = frozenset(item.accelerator for item in self.devices if item.checked)
        prices = {n.removeprefix("price "): v for n, v in values.items() if n.startswith("price ")}
        latency = {n.removeprefix("latency "): v for n, v in values.items() if n.startswith("latency ")}
        return WhatIfQuestion(
            rate_per_s=values.get("rate"),
            latency_s=latency,
            solve=values.get("solve"),
            usd_per_device_h=prices,
            carbon_usd_per_t=values.get("carbon", 0.0),
            accelerators=None if len(ticked) == len(self.devices) else ticked,
        )


def number_fields(base: WhatIfBase) -> Iterator[NumberField]:
    """The fields for numbers of a workload, as it stands."""
    # a hundredfold in either direction is another service, and another workload should say so
    yield NumberField("rate", "Rate", "1/s", base.rate_per_s, base.rate_per_s / 100, base.rate_per_s * 100)
    for name, most_s in base.latency_s.items():
        start = most_s * 1e3
        yield NumberField(f"latency {name}", name, "ms", start, start / 20, start * 20, scale=1e-3)
    if base.solve is not None:
        yield NumberField("solve", "Solved at least", "%", 100 * base.solve, 0.1, 100.0, scale=0.01)
    yield NumberField("carbon", "Carbon price", "$/t CO2e", 0.0, 0.0, 10_000.0)
    for name, usd in base.usd_per_device_h.items():
        yield NumberField(f"price {name}", name, "$/device h", usd, usd / 100, usd * 100)
