"""A plan in three lines."""

from comptroller import load_workload, plan

answer = plan(load_workload("examples/chat.toml"))
print(f"{answer.totals.devices} devices, ${answer.totals.usd_per_h.value:.2f} an hour")
