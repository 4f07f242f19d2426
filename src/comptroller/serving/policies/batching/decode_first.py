"""Decode first: a batch decodes to its end before the next prompts start (FasterTransformer)."""


def budget(decoding: int, chunk: int) -> tuple[int, bool]:
    """Prompt tokens a step may take, and whether decodes run beside them."""
    return (chunk if decoding == 0 else 0), False
