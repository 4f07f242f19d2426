"""Who of those that wait for a service comes next: a scheduling policy of the simulator, over what a gateway counts.

`rank(call)` of `serving/policies/scheduling` is called as the simulator calls it: once when a call comes, or, of a
policy that needs `counter`, of the first call of each tenant whenever a place comes free. A tenant is the name of a
key. The service that it has had is kept as the engine's kernel keeps it (`kernel/turns.py`; Sheng et al., Fairness in
Serving Large Language Models, OSDI 2024, algorithm 2), divided by its weight: prompts as they are admitted, output as
it comes, both by the service's own usage once that is told. Start tags (`fair_start`) go by prompt and predicted
output.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from comptroller.errors import UnsupportedError
from comptroller.gateway.config import TenantConfig
from comptroller.gateway.replica_choice import RoutedCall
from comptroller.serving.policies import decision, module

DEFAULT_SCHEDULING = "vtc"
"""Where none is configured: no tenant waits for what another has asked, and who comes alone has all of the service."""
KNOWN_COLUMNS = ("tenant", "priority", "counter")
"""What a policy may declare in NEEDS and gets here."""
PLAIN = TenantConfig()

T = TypeVar("T")


@dataclass(order=True, slots=True)
class WaitingCall(Generic[T]):
    """A call in its tenant's line: what it is ranked by, its place in the order of arrival, what stands for it."""

    key: float
    number: int
    tenant: str = field(compare=False)
    call: RoutedCall = field(compare=False)
    ticket: T = field(compare=False)


class AdmissionOrder(Generic[T]):
    """Lines of tenants, and the policy that chooses among their heads.

    Raises:
        UnknownIdError: there is no such policy.
        UnsupportedError: a gateway cannot run it; says why.
    """

    def __init__(self, service: str, policy: str, tenants: Mapping[str, TenantConfig]) -> None:
        self._rank, self._tenants = decision("scheduling", policy), tenants
        file = module("scheduling", policy)
        wanted = tuple(getattr(file, "NEEDS", ()))
        about = f"service {service}: scheduling policy {policy}"
        for need in wanted:
            if need not in KNOWN_COLUMNS:
                raise UnsupportedError(
                    f"{about} needs {need!r}, which a gateway does not know; it knows {', '.join(KNOWN_COLUMNS)}"
                )
        if getattr(file, "PREEMPTS", False):
            raise UnsupportedError(
                f"{about} sets running calls aside, which an engine does and no gateway; take priority or vtc"
            )
        self.counts = "counter" in wanted
        self._weights = float(getattr(file, "INPUT_WEIGHT", 1.0)), float(getattr(file, "OUTPUT_WEIGHT", 1.0))
        self._lines: dict[str, list[WaitingCall[T]]] = {}
        self._numbers, self._had, self._tags = count(), dict[str, float](), dict[str, float]()
        self._last, self._virtual = "", 0.0

    def tenant(self, name: str) -> TenantConfig:
        """What is configured of a tenant."""
        return self._tenants.get(name, PLAIN)

    def waiting(self, tenant: str) -> int:
        """How many calls of a tenant wait."""
        return len(self._lines.get(tenant, ()))

    def join(self, tenant: str, prompt: int, predicted: int, ticket: T) -> WaitingCall[T]:
        """A call takes its place in its tenant's line."""
        how, number = self.tenant(tenant), next(self._numbers)
        if tenant not in self._lines:
            self._lift(tenant)
        start = max(self._virtual, self._tags.get(tenant, 0.0))
        self._tags[tenant] = start + (prompt + predicted) / how.weight
        call = RoutedCall(number, prompt, predicted, priority=how.priority, fair_start=start)
        one = WaitingCall(0.0 if self.counts else float(self._rank(call)), number, tenant, call, ticket)
        insort(self._lines.setdefault(tenant, []), one)
        return one

    def _lift(self, tenant: str) -> None:
        """A tenant that comes back brings no credit from when it was away."""
        waits = [self._had.get(other, 0.0) for other in self._lines]
        least = min(waits, default=self._had.get(self._last, 0.0))
        self._had[tenant] = max(self._had.get(tenant, 0.0), least)

    def first(self, full: Collection[str] = ()) -> WaitingCall[T] | None:
        """The call that comes next; None where nobody waits. full: tenants that may have no more places."""
        heads = [line[0] for tenant, line in self._lines.items() if tenant not in full]
        return min(heads, key=lambda one: (self._key(one), one.number), default=None)

    def _key(self, one: WaitingCall[T]) -> float:
        if not self.counts:
            return one.key
        return float(self._rank(one.call._replace(counter=self._had[one.tenant])))

    def give_up(self, one: WaitingCall[T]) -> bool:
        """A call leaves its line without a place; whether it was there."""
        line = self._lines.get(one.tenant, [])
        if one not in line:
            return False
        if one is line[-1]:
            self._tags[one.tenant] = one.call.fair_start  # what is not served does not count
        self._take(one)
        return True

    def _take(self, one: WaitingCall[T]) -> None:
        line = self._lines[one.tenant]
        line.remove(one)
        if not line:
            del self._lines[one.tenant]

    def admit(self, one: WaitingCall[T]) -> None:
        """A call gets its place: its prompt is service."""
        self._take(one)
        self._last, self._virtual = one.tenant, max(self._virtual, one.call.fair_start)
        self.serve(one.tenant, one.call.prompt, 0)

    def serve(self, tenant: str, prompt: int, output: int) -> None:
        """A tenant has had so many tokens more."""
        of_prompt, of_output = self._weights
        amount = of_prompt * prompt + of_output * output
        self._had[tenant] = self._had.get(tenant, 0.0) + amount / self.tenant(tenant).weight

    def last(self, newcomer: WaitingCall[T]) -> WaitingCall[T] | None:
        """Who gives way to a newcomer where there is no more room: of the calls ranked last, the newest of the longest
        line; None where that is the newcomer, or one of a line no longer than its own."""
        ends = [line[-1] for line in self._lines.values()]
        one = max(ends, key=lambda end: (end.key, self.waiting(end.tenant)))
        room = (one.key, self.waiting(one.tenant)) > (newcomer.key, self.waiting(newcomer.tenant))
        return one if room and one.tenant != newcomer.tenant else None
