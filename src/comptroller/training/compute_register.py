"""The register of a run: its FLOPs by both methods, the rules that it meets, and what they do not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comptroller.costs.compute_count import (
    OPERAND_BITS,
    FlopRange,
    architecture_flops,
    hardware_flops,
    performance_density,
    total_processing_performance,
)
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.compute_rule import (
    ClusterThreshold,
    ComputeRule,
    ComputeStage,
    ComputeThreshold,
    DeviceThreshold,
    compute_rules,
)
from comptroller.facts.utilisation import measured_utilisation
from comptroller.quantities import DAY_S
from comptroller.training.activity import matrix_arithmetic
from comptroller.training.plan_document import six_digits
from comptroller.training.register_document import ComputeCountDocument, ComputeRegister, RuleVerdict, ThresholdDocument
from comptroller.training.stated_compute import StatedCompute

STUDENT_SHARE = 0.1
"""Size of the student that shows what distillation hides, as a share of its teacher: a step in size between two models
of one family, such as 70B and 8B. At twice this it hides half as much."""

SAMPLES = 16
"""Samples of an answer that show what thinking at test time hides; votes over 16 are common, and at twice this the sum
is twice as large."""


AnyThreshold = ComputeThreshold | ClusterThreshold | DeviceThreshold


@dataclass(frozen=True, slots=True)
class RegisteredRun:
    """What a register needs of a run. device_s: of all devices, with time lost.  utilisation: where it was measured."""

    job: TrainingJob
    tokens: float
    devices: int
    device_s: float
    stated: StatedCompute
    utilisation: tuple[float, float, float] | None = None


def compute_register(run: RegisteredRun, rules: tuple[ComputeRule, ...] | None = None) -> ComputeRegister:
    """Counts, verdicts of all rules (those that ship, unless others are given), and what they do not see."""
    own = architecture_flops(run.job, run.tokens)
    how = "operations of the model; between 6 N D and whole squares of attention"
    counts: tuple[ComputeCountDocument, ...] = (_document("architecture", own, how),)
    if run.device_s:
        counts += (_hardware(run),)
    verdicts = [one for rule in (rules or compute_rules()) for one in _verdicts(rule, run, own)]
    return ComputeRegister(
        counts=counts,
        other_flops={name: six_digits(flops) for name, flops in run.stated.stages.items()},
        thresholds=tuple(verdicts),
        unseen=unseen_compute(run, own),
    )


def _document(method: str, count: FlopRange, how: str) -> ComputeCountDocument:
    return ComputeCountDocument(
        method=method, flops=six_digits(count.flops), low=six_digits(count.low), high=six_digits(count.high), how=how
    )


def _hardware(run: RegisteredRun) -> ComputeCountDocument:
    device, arithmetic = run.job.device, matrix_arithmetic(run.job)
    peak, bits = device.peak(arithmetic), OPERAND_BITS[arithmetic]
    known = measured_utilisation().of(device.family, bits)
    shares = run.utilisation or (known.low, known.middle, known.high)
    whose = (
        "as stated" if run.utilisation else f"of {known.rows} measured runs on {known.family} devices in {bits} bits"
    )
    how = (
        f"{run.devices:,} devices x {run.device_s / run.devices / DAY_S:,.1f} days x {peak / 1e12:,.0f} Tflop/s x "
        f"{shares[1]:.0%} ({shares[0]:.0%} to {shares[2]:.0%}, {whose})"
    )
    return _document("hardware", hardware_flops(run.device_s, peak, shares), how)


def _verdicts(rule: ComputeRule, run: RegisteredRun, own: FlopRange) -> Iterator[ThresholdDocument]:
    for threshold in rule.compute:
        if (found := _compute_verdict(rule, threshold, run, own)) is not None:
            yield found
    for cluster in rule.cluster:
        yield _cluster_verdict(rule, cluster, run)
    reached: set[str] = set()
    for one in rule.device:
        if not reached & set(one.unless):
            verdict = device_verdict(rule, one, run.job.device)
            reached |= {one.id} if verdict.verdict is RuleVerdict.REACHED else set()
            yield verdict


def _compute_verdict(
    rule: ComputeRule, one: ComputeThreshold, run: RegisteredRun, own: FlopRange
) -> ThresholdDocument | None:
    """The verdict of a threshold of FLOPs; `None` where it does not speak of such a run.

    One that counts the base model's compute speaks of every run; else modifications have thresholds of their own.
    """
    stated = run.stated
    if one.biological and not stated.biological:
        return None
    shared = one.min_share_of_base is not None
    if shared != stated.modified and not (not shared and ComputeStage.BASE in one.counts):
        return None
    at, why = _least_flops(one, stated)
    if at is None:
        return None
    added = {name: flops for name, flops in stated.stages.items() if name in {str(stage) for stage in one.counts}}
    count = own.plus(sum(added.values()))
    words = " + ".join(["the run", *(name.replace("_", " ") for name in added)])
    return _threshold(rule, one, count, (at, "FLOP"), f"{words}{why}")


def _least_flops(one: ComputeThreshold, stated: StatedCompute) -> tuple[float | None, str]:
    """FLOPs that a threshold asks of this run, and how they follow; `None` where the base model is too small."""
    if one.min_flops is not None:
        return one.min_flops.value, ""
    assert one.min_share_of_base is not None
    share = one.min_share_of_base.value
    if stated.base_flops is None:
        known = one.unknown_base_flops
        return (None, "") if known is None else (known.value, "; the original's compute is not known")
    if one.least_base_flops is not None and stated.base_flops <= one.least_base_flops.value:
        return None, ""
    return share * stated.base_flops, f", against {share:.3f} of the original's {stated.base_flops:.3g} FLOP"


def _cluster_verdict(rule: ComputeRule, one: ClusterThreshold, run: RegisteredRun) -> ThresholdDocument:
    device = run.job.device
    peak = max((rate for rate in device.peak_flops_per_s.values()), default=0.0) * run.devices
    link = device.scale_out.one_way_bytes_per_s if device.scale_out else None
    count = FlopRange(peak, peak, peak)
    found = _threshold(rule, one, count, (one.min_flops_per_s.value, "flop/s"), "peak of all devices of the run")
    if found.verdict == RuleVerdict.REACHED and link is None:
        return found.model_copy(update={"verdict": RuleVerdict.UNKNOWN, "why": "the network of the device is unknown"})
    if link is not None and link < one.min_link_bytes_per_s.value:
        return found.model_copy(update={"verdict": RuleVerdict.NOT_REACHED, "why": "links are slower"})
    return found


def device_verdict(rule: ComputeRule, one: DeviceThreshold, device: Accelerator) -> ThresholdDocument:
    """Whether a device lies in a range of an export control."""
    tpp, density = total_processing_performance(device), performance_density(device)
    holds = one.holds(tpp, density)
    verdict = {True: RuleVerdict.REACHED, False: RuleVerdict.NOT_REACHED, None: RuleVerdict.UNKNOWN}[holds]
    shown = "of unknown density" if density is None else f"at {density:.2f} a mm2"
    why = f"{device.id}: TPP {tpp:,.0f} {shown}" + (": its die area decides" if holds is None else "")
    found = _threshold(rule, one, FlopRange(tpp, tpp, tpp), (one.min_tpp.value, "TPP"), why)
    return found.model_copy(update={"verdict": verdict})


def _threshold(
    rule: ComputeRule, one: AnyThreshold, count: FlopRange, at: tuple[float, str], why: str
) -> ThresholdDocument:
    """A threshold at a number of a unit, with its verdict on a count."""
    limit, unit = at
    reached = RuleVerdict.REACHED if count.low > limit else RuleVerdict.WITHIN_ERROR
    return ThresholdDocument(
        rule=rule.id,
        threshold=one.id,
        jurisdiction=rule.jurisdiction,
        applies_from=str(rule.applies_from),
        applies_until=str(rule.applies_until) if rule.applies_until else None,
        verdict=reached if count.high > limit else RuleVerdict.NOT_REACHED,
        counted=six_digits(count.flops),
        low=six_digits(count.low),
        high=six_digits(count.high),
        at=six_digits(limit),
        unit=unit,
        means=one.means,
        why=why,
    )


def unseen_compute(run: RegisteredRun, own: FlopRange) -> tuple[str, ...]:
    """What thresholds of training compute do not see, with what it comes to for this run.

    A token served takes 2 N FLOP (Kaplan et al., arXiv 2001.08361, section 2.1) besides attention, a student of a
    share of its teacher that share of the run, beside one forward pass of the teacher for every token.
    """
    forward = 2.0 * run.job.model.active_params
    student = STUDENT_SHARE * own.flops
    teacher = forward * run.tokens
    return (
        f"test-time compute: serving {own.flops / forward:.3g} tokens takes as much as the run; {SAMPLES} samples of "
        f"each answer take that much after {own.flops / forward / SAMPLES:.3g} tokens of answers, and no threshold "
        f"counts either",
        f"distillation: a student of {STUDENT_SHARE:.0%} of the size on the same tokens is trained with {student:.3g} "
        f"FLOP; the teacher's {teacher:.3g} for its data count in the European Union alone",
        f"modification: further training below {own.flops / 3:.3g} FLOP (a third) leaves the provider who it was in "
        f"the European Union, however often it is done",
        "number formats: an operation in 4 bits counts as one in 16",
    )
