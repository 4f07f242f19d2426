"""Names of what may be minimised, and of what may be limited beside latencies."""

from __future__ import annotations

OBJECTIVES = ("usd", "j", "gco2e")
"""What may be minimised: dollars, joules, grams of CO2 equivalent."""

LIMITS = {"budget": "USD/h", "power": "W", "carbon": "gCO2e/h"}
"""What may be limited, and its unit."""

CAP = "cap "
"""Before the id of an accelerator: its devices are limited."""

AVAILABLE = "available "
"""Before the name of an offer: its devices are limited by what there is."""
