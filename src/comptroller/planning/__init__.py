"""Which choice is cheapest and meets the target: enumerate, bound, optimise, rank."""
