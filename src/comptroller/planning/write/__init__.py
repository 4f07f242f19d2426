"""From a fleet to the Plan document."""
