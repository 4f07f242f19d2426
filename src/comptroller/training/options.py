"""Ways to make a run: accelerators, precisions, counts and offers, each with its fastest layout and what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from comptroller.costs.network import node_devices
from comptroller.costs.training_layout import StateSharding, require_division
from comptroller.costs.training_pace import memory_habits, training_pace
from comptroller.costs.training_work import ForwardTable, TrainingJob
from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.model import Model
from comptroller.facts.reader import ids
from comptroller.facts.site import AcceleratorOffer, Site
from comptroller.training.document import MOST_DEVICES, TrainingRun, TrainingWorkload
from comptroller.training.programs import reach_of
from comptroller.training.run_job import require_precision, run_job
from comptroller.training.search import LayoutChoice, LayoutQuestion, fastest, layouts, leanest, least_outside_bytes
from comptroller.training.stages import fullest_words

MEMORY_SHARE = 0.95
"""Of a device's memory that training may take: the rest is the driver's, and fragments. torchtitan's fullest runs
report 90.7 of 96 GB. At half the rest more layouts fit that run out of memory in practice."""


@dataclass(frozen=True, slots=True)
class TrainingOption:
    """One way: a device in a number, a precision, the layout that is fastest, and where it is rented."""

    job: TrainingJob
    precision: str
    devices: int
    global_batch: int
    choice: LayoutChoice
    site: Site
    offer: AcceleratorOffer
    memory_bytes: float


@dataclass(frozen=True)
class TrainingField:
    """What could be tried of a workload: the options, and what was refused with its reason."""

    options: tuple[TrainingOption, ...]
    refused: tuple[str, ...]
    tried: int
    fitting: int


def field_of(workload: TrainingWorkload) -> TrainingField:
    """All ways to make the run that a workload allows.

    Raises:
        InputError: a stated layout does not divide; says which number and the nearest that does.
    """
    run, library = workload.training, workload.library
    model = library.model(run.model)
    if run.layout.stated:
        require_stated(model, run)
    options: list[TrainingOption] = []
    refused: dict[str, None] = {}
    tried = fitting = 0
    for device, precision in _kinds(workload):
        table = ForwardTable(run_job(workload, device, precision))
        try:
            require_precision(device, precision)
            found = list(_counts(table, precision, workload))
        except UnsupportedError as error:
            refused[f"{device.id} in {precision}: {error}"] = None
            continue
        tried += sum(choice.tried for _, choice in found)
        fitting += sum(choice.fitting for _, choice in found)
        here = [one for devices, choice in found for one in _offers(table, precision, (devices, choice), workload)]
        if not here:
            refused[_why_none(table, precision, workload, bool(found))] = None
        options += here
    return TrainingField(tuple(options), tuple(refused), tried, fitting)


def require_stated(model: Model, run: TrainingRun) -> None:
    """Refuse stated degrees that divide neither model nor batch; raises as `require_division`.

    Data parallelism that is not stated is taken as little as experts need.
    """
    filled = run.layout.filled()
    if run.layout.dp is None:
        filled = replace(filled, dp=max(1, filled.ep // (filled.tp * filled.cp)))
    require_division(model, filled, run.seq, run.global_batch)


def _kinds(workload: TrainingWorkload) -> Iterator[tuple[Accelerator, str]]:
    allow = workload.training.allow
    for name in allow.accelerators or _rentable_ids(workload):
        device = workload.library.accelerator(name)
        for precision in allow.precisions:
            yield device, precision


def _rentable_ids(workload: TrainingWorkload) -> list[str]:
    """Accelerators that the allowed sites rent out."""
    places = map(workload.library.site, workload.training.allow.sites)
    offered = {item.accelerator for place in places for item in place.offers}
    return [name for name in ids("accelerators") if name in offered]


def _counts(table: ForwardTable, precision: str, workload: TrainingWorkload) -> Iterator[tuple[int, LayoutChoice]]:
    """The fastest layout on every number of devices that is tried."""
    run, device = workload.training, table.job.device
    pace, habits = training_pace(run.program, device), memory_habits(run.program, run.compiled_loss)
    for devices in counts(run, device):
        choice = fastest(question(table, devices, workload), pace, habits)
        if choice is not None:
            yield devices, choice


def question(table: ForwardTable, devices: int, workload: TrainingWorkload) -> LayoutQuestion:
    """What is searched on so many devices."""
    run, device = workload.training, table.job.device
    reach = run.layout.within(reach_of(run.program))
    return LayoutQuestion(
        table,
        devices,
        run.global_batch,
        reach if run.offload is None else replace(reach, sharded=(StateSharding.FULL,)),
        run.layout.stated,
        MEMORY_SHARE * (device.reported_memory_bytes or device.memory_bytes),
        run.allow.schedules,
    )


def counts(run: TrainingRun, device: Accelerator) -> list[int]:
    """Numbers of devices that are tried: those stated, else powers of two up to the cap, and the cap itself."""
    most = run.caps.get(device.id, MOST_DEVICES)
    if run.allow.devices:
        return sorted({n for n in run.allow.devices if n <= most})
    powers = [2**i for i in range(most.bit_length()) if 2**i <= most]
    whole = most - most % min(node_devices(device), most)
    return sorted({*powers, *([whole] if device.id in run.caps and whole else [])})


def _offers(
    table: ForwardTable, precision: str, found: tuple[int, LayoutChoice], workload: TrainingWorkload
) -> Iterator[TrainingOption]:
    """A choice at every site that rents so many of the device, by the cheapest offer of each term."""
    devices, choice = found
    allow, device = workload.training.allow, table.job.device
    limit = MEMORY_SHARE * (device.reported_memory_bytes or device.memory_bytes)
    for place in map(workload.library.site, allow.sites):
        for term in allow.terms:
            try:
                offer = place.offer_for_fleet(device, term, (1, devices), allow.sellers)
            except UnsupportedError:
                continue
            yield TrainingOption(
                table.job, precision, devices, workload.training.global_batch, choice, place, offer, limit
            )


def _why_none(table: ForwardTable, precision: str, workload: TrainingWorkload, some: bool) -> str:
    run, device = workload.training, table.job.device
    name = f"{device.id} in {precision}"
    if some:
        return f"{name}: no allowed seller offers it at {', '.join(run.allow.sites)}"
    most = max(counts(run, device), default=0)
    habits = memory_habits(run.program, run.compiled_loss)
    if not most:
        return f"{name}: no count is at most the cap of {run.caps.get(device.id)}"
    found = [one for n in counts(run, device) if (one := leanest(question(table, n, workload), habits)) is not None]
    if not found:
        near = _nearest_count(table, most, workload)
        also = f" (nearest number of devices that does: {near})" if near else ""
        return f"{name}: no layout on up to {most} devices divides {run.model} and {run.global_batch} sequences{also}"
    tier = table.job.offload
    outside = min(least_outside_bytes(question(table, n, workload), habits) for n in counts(run, device))
    if tier is not None and outside > tier.host_bytes:
        return (
            f"{name}: needs {outside / 1e9:,.1f} GB of a node's host on up to {most}, training.offload.host_gb is "
            f"{tier.host_bytes / 1e9:,.1f}"
        )
    layout, memory = min(found, key=lambda one: float(one[1].total_bytes[0]))
    words = fullest_words(table.job, layout, run.global_batch, habits)
    needed = float(memory.total_bytes[0])
    return (
        f"{name}: needs {needed / 1e9:,.1f} GB a device on up to {most} and has {device.memory_bytes / 1e9:,.1f} GB; "
        f"least of all takes {words}"
    )


def _nearest_count(table: ForwardTable, devices: int, workload: TrainingWorkload) -> int:
    """The number of devices nearest to one that no layout divides on which one does; 0 where none within twice it."""
    for far in range(1, devices + 1):
        for count in (devices - far, devices + far):
            if count > 0 and len(layouts(question(table, count, workload))):
                return count
    return 0
