"""Shortest job first, by what is known beforehand: prompt tokens and predicted output."""

from comptroller.serving.policies.view import Call


def rank(call: Call) -> float:
    """Tokens the call is expected to take."""
    return float(call.prompt + call.predicted)
