"""Batching: how a step is made up. `budget(decoding, chunk)` takes the tokens that the decoding sequences
would process and the step's token budget; it returns how many prompt tokens the step may take and whether
decoding sequences run beside them."""
