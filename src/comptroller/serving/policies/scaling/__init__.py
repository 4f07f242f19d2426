"""How many replicas a service is to have: one file each, a function `desired` of what was seen, asked every EVERY_S."""
