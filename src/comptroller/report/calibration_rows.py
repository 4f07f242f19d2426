"""What measurements stand behind the prediction of one deployment, and what to measure to halve its interval."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from comptroller.costs.causes import effects
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.residual import ResidualIdentity, ResidualOverlap, covariance, places
from comptroller.errors import InputError
from comptroller.facts.library import SHIPPED
from comptroller.facts.serving import ResidualAnchor, anchors, serving_facts
from comptroller.planning.offer.intervals import ReplicaIntervals
from comptroller.report.sheet import ReportSheet, left, right

FORM = "ENGINE/ACCELERATOR/MODEL[/LAYOUT[/FORMAT]], such as vllm/h100_sxm/llama_3_1_70b/tp4/fp8_e4m3"

TYPICAL_TOKENS = (1024.0, 512.0)
"""Input and output tokens of the load that distances are taken from and runs are proposed for; twice either is an
octave, which the shares of the residual hardly notice (`ResidualKernel.scales` are 1.2 to 2 octaves)."""

LOADS = (16.0, 4.0, 64.0, 1.0, 256.0, 32.0, 8.0, 128.0)
"""Clients of the runs that are proposed, in this order: each in the widest gap that the ones before leave."""


def replica_of_text(text: str) -> ModelReplica:
    """The deployment that is spelled like `FORM`.

    Raises:
        InputError: it is not.
        UnknownIdError: a name is not known.
    """
    parts = text.split("/")
    if not 3 <= len(parts) <= 5:
        raise InputError(f"{text!r} is no deployment; allowed: {FORM}")
    engine, name, model, layout, form = (*parts, *("tp1", "bf16")[len(parts) - 3 :])
    settings, device = EngineSettings.default(SHIPPED.engine(engine)), SHIPPED.accelerator(name)
    weights = SHIPPED.format(form)
    native = "activations" in weights.roles and weights.support(device) == "native"
    recipe = PrecisionRecipe(form, form, form if native else "bf16")
    return ModelReplica(SHIPPED.model(model), device, recipe, ParallelLayout.of(layout), settings)


@dataclass(frozen=True, slots=True)
class MeasuredConfigurations:
    """Measured configurations of one kind of kinship to a deployment."""

    name: str
    rows: tuple[ResidualAnchor, ...]
    place: tuple[float, ...]

    @property
    def dates(self) -> str:
        """First and last day of measurement, as far as they are stated."""
        found = sorted(day[0] for row in self.rows if (day := re.search(r"\d{4}-\d\d-\d\d", row.run)))
        return f"{found[0]} to {found[-1]}" if found else ""

    @property
    def octaves(self) -> float | None:
        """Distance of the nearest in load and layout."""
        if not self.rows:
            return None
        return round(float(np.linalg.norm(np.array([r.place for r in self.rows]) - self.place, axis=1).min()), 2)


def evidence_sheets(replica: ModelReplica) -> tuple[ReportSheet, ...]:
    """Measured configurations by kinship, the effects of its causes, its interval, and the runs that halve it."""
    behind = left("runs", "measured configurations"), right("rows"), left("dates"), right("octaves", "nearest, octaves")
    rows = tuple((kin.name, len(kin.rows), kin.dates or None, kin.octaves) for kin in kinship(replica))
    table, causes = serving_facts().table, (left("effect"), left("engine"), right("value"), right("error", "log error"))
    known = [(*name, table[name]) for name in effects(replica) if name in table]
    values = tuple((name, engine, round(p.value, 3), round(p.error, 3)) for name, engine, p in known)
    return (
        ReportSheet(f"What stands behind {replica.engine.id}, {replica}", behind, rows),
        ReportSheet("Effects of its causes on the time of kernels, links, steps and the server", causes, values),
        _interval(replica),
    )


def kinship(replica: ModelReplica) -> tuple[MeasuredConfigurations, ...]:
    """The anchors of the shipped calibration, nearest kin first; each stands once."""
    own, known = ResidualIdentity.of(replica), anchors()
    one = np.ones(1)
    place = tuple(places(replica, 16 * one, TYPICAL_TOKENS[0] * one, TYPICAL_TOKENS[1] * one)[0])

    def of(name: str, found: Iterable[ResidualAnchor]) -> MeasuredConfigurations:
        return MeasuredConfigurations(name, tuple(found), place)

    engine = [a for a in known if a.engine == own.engine]
    model = [a for a in engine if a.architecture == own.architecture]
    same = [a for a in model if a.formats == own.formats and a.accelerator == own.accelerator]
    return (
        of("this engine, model, formats and accelerator", same),
        of("this engine and model, other formats or accelerator", (a for a in model if a not in same)),
        of("this engine on this accelerator, other models",
           (a for a in engine if a.accelerator == own.accelerator and a not in model)),
        of("this model under other engines",
           (a for a in known if a.architecture == own.architecture and a.engine != own.engine)),
    )  # fmt: skip


def _interval(replica: ModelReplica) -> ReportSheet:
    """The interval now, and with one more run at a time until it is half as wide."""
    known = ReplicaIntervals.of(replica, FittedCalibration.shipped())
    now, judged = known.tpot, known.judged_by
    wide, seen = np.log(now.high / now.low), serving_facts().tpot.seen
    columns = left("when", "time per token, 80 %"), right("low"), right("high"), left("measured", "runs at clients")
    rows: list[tuple[str, float, float, str | None]] = [("now", round(now.low, 3), round(now.high, 3), None)]
    for count in range(1, len(LOADS) + 1):
        spread = _spread(replica, LOADS[:count])
        clients = ", ".join(f"{c:g}" for c in LOADS[:count])
        low, high = (float(np.exp(edge * spread)) for edge in seen)
        if spread * (seen[1] - seen[0]) <= wide / 2 or count == len(LOADS):
            rows.append((f"after {count} own run{'s' * (count > 1)}", round(low, 3), round(high, 3), clients))
            break
    title = f"Its interval, judged by {judged}; and the runs that halve it (comptroller measure, then fit calibration)"
    return ReportSheet(title, columns,
                       tuple(rows))  # fmt: skip


def _spread(replica: ModelReplica, clients: tuple[float, ...]) -> float:
    """Mean predicted log standard deviation over all `LOADS` after runs at some, by the residual's covariance."""
    kernel = serving_facts().tpot_kernel
    tokens = np.array(TYPICAL_TOKENS)
    near, far = (places(replica, np.array(c), tokens[:1], tokens[1:]) for c in (clients, LOADS))
    inner = covariance(kernel, near, near, _all(len(near), len(near))) + kernel.noise**2 * np.eye(len(near))
    cross = covariance(kernel, far, near, _all(len(far), len(near)))
    known = (np.linalg.solve(inner, cross.T) * cross.T).sum(axis=0)
    full = kernel.kin**2 + kernel.key**2 + kernel.fine**2 + kernel.run**2 + kernel.run_fine**2
    return float(np.sqrt(np.maximum(full - known, 0.0) + kernel.noise**2).mean())


def _all(rows: int, columns: int) -> ResidualOverlap:
    whole = np.ones((rows, columns))
    return ResidualOverlap(whole, whole, whole)
