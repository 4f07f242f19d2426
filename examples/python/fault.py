"""What is wrong with a file: all faults at once, each with its line."""

from pathlib import Path
from tempfile import TemporaryDirectory

from comptroller import load_workload
from comptroller.errors import FactError

WRONG = """name = "chat"
models = ["llama_3_1_8b"]
rate_per_s = "five"
objectives.ttft = { p = 0.95, max = 1, unit = "s" }
budget = { max = 900, unit = "EUR/month" }
lengths = { input = { fixed = 300 }, output = { fixed = -5 } }
"""

with TemporaryDirectory() as folder:
    file = Path(folder) / "chat.toml"
    file.write_text(WRONG)
    try:
        load_workload(file)
    except FactError as error:
        for fault in error.faults:
            print(f"line {fault.line}: {fault.field}: {fault.problem} (allowed: {fault.allowed})")
