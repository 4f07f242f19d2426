"""How many replicas a service is to have: one file each, a function `wish` of what was seen, asked every EVERY_S."""
