"""A replica that benchmarks of routing run on: Llama 3.1 8B on one H100, under the shipped calibration."""

from __future__ import annotations

import os
from pathlib import Path

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.work.trace import RequestTrace
from comptroller.work.traces import read_trace

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = SiteRates(usd_per_s=0.0, pue=1.0, gco2e_per_j=0.0)
WORDS = "Llama 3.1 8B in bf16 on one H100 SXM each, vLLM's settings, the shipped calibration"


def step_table(device: str = "h100_sxm", recipe: PrecisionRecipe | None = None) -> StepTable:
    """The step table of one replica; requests beyond the model's context are refused."""
    whole = model("llama_3_1_8b")
    engine = EngineSettings.default(engine_facts("vllm"))
    replica = ModelReplica(whole, accelerator(device), recipe or PrecisionRecipe(), ParallelLayout(), engine)
    held = memory(replica)
    context = min(whole.context_tokens, held.kv_capacity_tokens)
    return tabulate(replica_timer(replica, FittedCalibration.shipped()), held, NOWHERE, context)


def recorded(name: str) -> RequestTrace:
    """A trace of the data folder."""
    folder = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
    return read_trace(folder / "traces" / name)
