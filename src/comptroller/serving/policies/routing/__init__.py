"""Routing: which replica takes a call. `choose(view, ranks, call, router)` returns one of `ranks`."""
