"""Training runs: what one takes, how to lay it out, what it costs, what the next dollar buys."""
