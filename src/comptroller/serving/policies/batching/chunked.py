"""Chunked prefill: every decoding sequence runs, prompts fill what is left of the budget (vLLM V1)."""


def budget(decoding: int, chunk: int) -> tuple[int, bool]:
    """Prompt tokens a step may take, and whether decodes run beside them."""
    return max(0, chunk - decoding), True
