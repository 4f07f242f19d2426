"""Prefill first: prompts take the whole budget, decoding sequences ride along on top of it (Orca)."""


def budget(decoding: int, chunk: int) -> tuple[int, bool]:
    """Prompt tokens a step may take, and whether decodes run beside them."""
    return chunk, True
