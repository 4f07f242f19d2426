"""Facts with their unit, source and date; a name that is none lists the nearest."""

from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import accelerator

device = accelerator("h100_sxm")
source = device.sources[device.provenance["memory_bytes"]]
print(f"{device.name}: {device.memory_bytes / 1e9:.0f} GB, from {source.title}, read on {source.date}")
try:
    accelerator("h100")
except UnknownIdError as error:
    print(error)
