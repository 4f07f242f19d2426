"""How the clocks and power limits of a row's replicas are set: `cap(view)`, the setting of each tier."""
