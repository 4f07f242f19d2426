"""Does it fit? The memory of one replica, part by part."""

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

for layout in (ParallelLayout(tp=1), ParallelLayout(tp=2), ParallelLayout(tp=4)):
    engine = EngineSettings.default(engine_facts("vllm"))
    replica = ModelReplica(model("qwen3_32b"), accelerator("h100_sxm"), PrecisionRecipe(), layout, engine)
    held = memory(replica)
    weights_gb = held.weight_bytes / 1e9
    print(f"tp{layout.tp}: weights {weights_gb:.1f} GB a device, cache for {held.kv_capacity_tokens:,} tokens")
