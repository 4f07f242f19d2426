"""Prometheus metrics. Labels are services, endpoints and outcomes, never keys: their number stays bounded."""

from __future__ import annotations

from math import isnan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from comptroller.gateway.attempt import CallAttempt
from comptroller.gateway.desk import UpstreamDispatcher
from comptroller.gateway.service import UpstreamService

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Upper ends of the histograms' buckets: from a cached first token to the longest calls (total_s is 600)."""


class GatewayMetrics:
    """What the gateway counts."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self._requests = Counter(
            "comptroller_requests", "Requests by endpoint and status", ["endpoint", "status"], registry=own
        )
        self._calls = Counter("comptroller_calls", "Calls to services by end", ["service", "finish"], registry=own)
        self._tokens = Counter("comptroller_tokens", "Tokens by kind", ["service", "kind"], registry=own)
        self._usd = Counter("comptroller_usd", "Dollars of known receipts", ["service"], registry=own)
        self._j = Counter("comptroller_joules", "Joules of known receipts", ["service"], registry=own)
        self._unknown = Counter(
            "comptroller_unknown_cost", "Calls whose dollars are unknown", ["service"], registry=own
        )
        self._first = Histogram(
            "comptroller_first_token_seconds", "To the first event", ["service"], buckets=SECONDS, registry=own
        )
        self._whole = Histogram("comptroller_call_seconds", "Whole calls", ["service"], buckets=SECONDS, registry=own)
        self._busy = Gauge("comptroller_in_flight", "Calls at a service", ["service"], registry=own)
        self._waiting = Gauge("comptroller_waiting", "Calls in its queue", ["service"], registry=own)
        self._hedges = Gauge(
            "comptroller_hedges", "Second requests that were sent, and won", ["service", "state"], registry=own
        )
        self._guarded = Counter("comptroller_guarded", "Overflows found", ["kind"], registry=own)
        self._plan = Gauge(
            "comptroller_plan", "Predicted and observed means per request", ["figure", "what"], registry=own
        )
        self._drift = Gauge(
            "comptroller_plan_drift", "1 where what happened lies outside the plan's interval", ["figure"], registry=own
        )
        self._settlements = Gauge(
            "comptroller_settlements",
            "Settlements that wait for the books (unwritten), were booked at their worst case since they could not be "
            "booked as told (unknown), were refused even so (unbooked), or whose report was doubted",
            ["state"],
            registry=own,
        )

    def request(self, endpoint: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(endpoint, status).inc()

    def guarded(self, kind: str) -> None:
        """The guard found something."""
        self._guarded.labels(kind).inc()

    def call(self, attempt: CallAttempt) -> None:
        """A call ended."""
        name, call, spent = attempt.service.id, attempt.call, attempt.receipt
        self._calls.labels(name, call.finish).inc()
        if attempt.usage is not None:
            for kind, count in (("input", call.input_tokens), ("output", call.output_tokens)):
                self._tokens.labels(name, kind).inc(count)
        if spent is None or spent.pusd is None:
            self._unknown.labels(name).inc()
        else:
            self._usd.labels(name).inc(spent.pusd / 1e12)
            if spent.energy.known:
                self._j.labels(name).inc(spent.energy.j)
        if not isnan(call.first_s):
            self._first.labels(name).observe(call.first_s - call.started_s)
        self._whole.labels(name).observe(call.last_s - call.started_s)

    def plan(self, figure: str, what: str, value: float) -> None:
        """A prediction, or what came of it."""
        self._plan.labels(figure, what).set(value)

    def drift(self, figure: str, outside: bool) -> None:
        """Whether what happened lies outside what the plan predicts."""
        self._drift.labels(figure).set(float(outside))

    def text(self, services: list[UpstreamService], desk: UpstreamDispatcher) -> bytes:
        """All of it, as Prometheus reads it."""
        for service in services:
            self._busy.labels(service.id).set(service.queue.busy)
            self._waiting.labels(service.id).set(service.queue.waiting)
            if service.config.hedge:
                for state in ("hedged", "won"):
                    self._hedges.labels(service.id, state).set(getattr(service.hedges.counts, state))
        for state in ("unwritten", "unknown", "unbooked", "doubted"):
            self._settlements.labels(state).set(getattr(desk, state))
        return generate_latest(self.registry)
