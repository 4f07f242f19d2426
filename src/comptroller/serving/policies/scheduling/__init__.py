"""Scheduling: who waits behind whom. `rank(call)` returns a number, the lowest goes first; ties go by
arrival."""
