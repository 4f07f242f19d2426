"""Phase exclusive: a step is all prompt or all decode, prompts before decodes (vLLM V0, Splitwise)."""


def budget(decoding: int, chunk: int) -> tuple[int, bool]:
    """Prompt tokens a step may take, and whether decodes run beside them."""
    return chunk, False
