"""Levers of serving that a workload may allow beside devices and formats."""

from __future__ import annotations

from enum import StrEnum


class PoolChoice(StrEnum):
    """How prefill and decode may share replicas: both on each, or in pools of their own."""

    MIXED = "mixed"
    SPLIT = "split"
