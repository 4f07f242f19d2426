"""Many questions on a fleet over time: the event engine, its plain twin, and their policies."""
