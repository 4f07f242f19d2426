"""Many questions on a fleet over time: the event engine and its policies."""
