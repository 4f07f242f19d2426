"""A plan that was kept: what it rents, what it costs, how likely it stands."""

from comptroller import load_plan

plan = load_plan("tests/golden/chat.json")
for service in plan.services:
    for pool in service.deployment.pools:
        print(f"{pool.replicas} x {pool.tp} {pool.accelerator} at {service.deployment.site}")
cost = plan.totals.usd_per_h
print(f"${cost.value:.2f} an hour, 80 % interval ${cost.low:.2f} to ${cost.high:.2f}")
for entry in plan.latency:
    print(
        f"{entry.quantity} at {entry.quantile:.0%}: {entry.predicted_s.value * 1e3:.0f} ms of {entry.most_s * 1e3:.0f}"
    )
for price in plan.shadow_prices:
    print(price.sentence)
