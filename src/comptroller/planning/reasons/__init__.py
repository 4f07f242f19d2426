"""Why a plan is what it is: shadow prices, runners-up, what was pruned."""
