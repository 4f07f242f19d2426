"""Your own price in place of what a site lists, as `--price` states it."""

from comptroller.work.workload import parse

DOCUMENT = {
    "name": "chat",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 5,
    "lengths": {"input": {"fixed": 300}, "output": {"fixed": 50}},
    "allow": {"sites": ["aws_us_east"]},
}

for stated in ({}, {"usd_per_device_h": {"h100_sxm": 3.1}}):
    asked = parse(DOCUMENT | stated)
    device = asked.library.accelerator("h100_sxm")
    for offer in asked.library.site("aws_us_east").offers_for(device, "on_demand", 1):
        print(f"{offer.provider}: ${offer.usd_per_s * 3600:.2f} a device and hour")
