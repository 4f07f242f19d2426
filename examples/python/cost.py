"""Costs add, scale and compare; unknown is NaN and stays unknown."""

from comptroller import Cost

day = Cost(device_s=3 * 86_400, usd=3 * 24 * 6.79, j=4.96e3 * 86_400)
month = day * 30.4
print(f"a month: ${month.usd:,.0f}, {month.j / 3.6e9:.2f} MWh, {month.device_s / 3600:,.0f} device hours")
print(f"with something unknown: {(day + Cost(usd=float('nan'))).usd}")
