"""A commented workload file, written from a few answers: every key that it may have, with its unit."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comptroller.facts.reader import ids
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class WorkloadKey:
    """A key of a workload file. says: what it means and in which unit.  example: a value in TOML, for who adds it."""

    says: str
    example: str


@dataclass(frozen=True, slots=True)
class WorkloadHeading:
    """Keys that belong together, by their dotted name."""

    title: str
    keys: Mapping[str, WorkloadKey]


HEADINGS = (
    WorkloadHeading(
        "What is served",
        {
            "name": WorkloadKey("Name of the workload, which stands over its plan.", '"chat"'),
            "models": WorkloadKey(
                "The models of which any may answer: ids (`comptroller show models`) or your own files.",
                '["llama_3_1_8b"]',
            ),
        },
    ),
    WorkloadHeading(
        "What arrives",
        {
            "use_case": WorkloadKey(
                f"Kind of service: {', '.join(ids('use_cases'))}, or a file of your own in their form. It gives the "
                "lengths and the latency objectives that are not stated below, and the requests per user.",
                '"chat"',
            ),
            "users": WorkloadKey("Users of the service (a count, of a week). They give the rate.", "1000"),
            "requests_per_user_per_day": WorkloadKey(
                "Requests of one user in a day (requests/day), where you know better than the use case.", "20.0"
            ),
            "tokens_per_day": WorkloadKey("Tokens of a day (tokens, prompts and answers), in place of users.", "1e9"),
            "busiest_hour_share": WorkloadKey(
                "Share of a day's requests that come in its busiest hour (1; an even day has 1/24 = 0.042). The fleet "
                "is sized for that hour.",
                "0.1",
            ),
            "rate_per_s": WorkloadKey(
                "Rate to size for (requests/s), in place of users. Beside a trace: the mean that it is scaled to.",
                "5.0",
            ),
            "cv": WorkloadKey(
                "Coefficient of variation of the gaps between arrivals (1): 1 is a Poisson stream, more is burstier.",
                "1.0",
            ),
            "trace": WorkloadKey("Recorded requests, a file; it gives rate and lengths.", '"requests.csv"'),
            "scale": WorkloadKey("Factor on the rate of the trace (1).", "2.0"),
            "part": WorkloadKey(
                "The part of the trace from `start` to `end` after its first arrival (unit: s, ms or h).",
                '{ start = 0.0, end = 1.0, unit = "h" }',
            ),
            "tenants": WorkloadKey("Tenants of the trace whose requests alone are read.", '["12", "27"]'),
            "skip_bad": WorkloadKey("Whether bad rows of the trace are dropped and counted (true or false).", "true"),
            "columns": WorkloadKey(
                "What the columns of the trace are called (arrival, input, output, session, tenant, adapter, priority, "
                "blocks), the unit of its times (s, ms, us, ns), and block_tokens (tokens of a prefix block).",
                '{ input = "input_tokens", output = "output_tokens" }',
            ),
            "peak": WorkloadKey(
                "The rate of a trace to size for: this quantile (1) of its rate over windows of so many seconds (s).",
                "{ quantile = 0.95, window_s = 60.0 }",
            ),
            "lengths.input": WorkloadKey(
                "Length of prompts (tokens): { fixed = n }, or a lognormal one by its median, its mean or p99, and the "
                "longest, `most`.",
                "{ median = 1000, mean = 1500, most = 8000 }",
            ),
            "lengths.output": WorkloadKey("Length of answers (tokens), in the same form.", "{ fixed = 300 }"),
        },
    ),
    WorkloadHeading(
        "How fast it must be",
        {
            "objectives.ttft": WorkloadKey(
                "Time to the first token: `p` per cent of the requests within `max` (unit: ms or s).",
                '{ p = 95, max = 1000, unit = "ms" }',
            ),
            "objectives.tpot": WorkloadKey(
                "Time per output token after the first (unit: ms or s).", '{ p = 95, max = 50, unit = "ms" }'
            ),
            "objectives.e2e": WorkloadKey(
                "Time from arrival to the last token (unit: ms or s).", '{ p = 95, max = 20, unit = "s" }'
            ),
        },
    ),
    WorkloadHeading(
        "What it may cost and use",
        {
            "objective": WorkloadKey('What is least: "usd", "j" (energy) or "gco2e" (emissions).', '"usd"'),
            "budget": WorkloadKey(
                "Most that may be spent (unit: USD/h, USD/day or USD/month).", '{ max = 100.0, unit = "USD/h" }'
            ),
            "power": WorkloadKey("Most power at the meter (unit: W, kW or MW).", '{ max = 50.0, unit = "kW" }'),
            "carbon": WorkloadKey("Most emissions (unit: gCO2e/h or kgCO2e/h).", '{ max = 10.0, unit = "kgCO2e/h" }'),
            "spare_replicas": WorkloadKey("Replicas of each deployment kept in reserve (a count; 1 is N+1).", "1"),
            "confidence": WorkloadKey(
                "Confidence that a further day of arrivals meets the objectives (0.95): between 0.5 and 1.", "0.9"
            ),
            "most_use": WorkloadKey(
                "Most of the time that replicas may be busy (0.9 where no latency objective says it).", "0.8"
            ),
            "most_kinds": WorkloadKey("Kinds of deployments in the fleet, at most (a count).", "1"),
            "kind_usd_per_h": WorkloadKey(
                "What each further kind of deployment counts for in the choice, beside the bill (0.4 USD/h).", "1.0"
            ),
            "caps": WorkloadKey("Most devices of an accelerator (a count each).", "{ h100_sxm = 16 }"),
            "usd_per_device_h": WorkloadKey(
                "Your price of a device (USD/h), by accelerator, in place of the on-demand offers of the allowed "
                "sites.",
                "{ h100_sxm = 3.1 }",
            ),
            "allow.accelerators": WorkloadKey(
                "Accelerators that may be used, by id (`comptroller show accelerators`) or file; none named: all.",
                '["h100_sxm", "l40s"]',
            ),
            "allow.sites": WorkloadKey(
                "Sites that may be used (`comptroller show sites`); none named: all.", '["us_neocloud"]'
            ),
            "allow.engines": WorkloadKey("Engines that may be used (`comptroller show engines`).", '["vllm"]'),
            "allow.formats": WorkloadKey("Number formats that may be used (`comptroller show formats`).", '["bf16"]'),
            "what_if": WorkloadKey(
                "Also plan with formats that no engine is known to launch and machines of papers, marked as such "
                "(true or false).",
                "true",
            ),
            "allow.measured_only": WorkloadKey(
                "Only deployments whose kernels or end-to-end speed somebody timed (true or false).", "true"
            ),
            "trust_predicted_speed": WorkloadKey(
                "Take what nobody timed at its predicted speed, and not at the upper end of its interval (true or "
                "false).",
                "true",
            ),
            "allow.terms": WorkloadKey(
                'Terms of rent: "on_demand", "spot", "reserved", "owned".', '["on_demand", "reserved"]'
            ),
            "allow.pools": WorkloadKey(
                'Whether replicas do prefill and decode ("mixed"), or may do one of them ("split": x prefill and y '
                "decode replicas, which needs a router that sends a request to both).",
                '["mixed", "split"]',
            ),
            "prefix": WorkloadKey(
                "What prompts have in common, where there is no trace: the share of a prompt (1) that is its group's, "
                "and how many groups there are (1: a system prompt that all requests have).",
                "{ share = 0.6, groups = 50 }",
            ),
            "cache_tier": WorkloadKey(
                "Where beginnings of prompts lie that replicas have no room for: a tier (comptroller show cache_tiers) "
                "and its size, of each replica or, if it is shared, of all (GB).",
                '{ tier = "host_memory", gb = 500 }',
            ),
            "allow.chunk_tokens": WorkloadKey(
                "Token budgets of a step that holds prompts, which are tried beside the engine's own (tokens).",
                "[512, 2048]",
            ),
            "allow.kv_formats": WorkloadKey(
                "Formats of the cache that may be used; none named: 16 bit, and those of eight bits in allow.formats.",
                '["bf16", "fp8_e4m3"]',
            ),
            "allow.expert_devices": WorkloadKey(
                "Numbers of devices over which the experts of one replica may be spread, beside those of a node: whole "
                "nodes, with a network in their facts.",
                "[16, 32]",
            ),
            "allow.offload_gib": WorkloadKey(
                "Weights of each device that may lie in the host's memory, from where every step reads them (GiB).",
                "[20, 40]",
            ),
            "allow.eager": WorkloadKey(
                "Whether replicas may run without captured graphs, launching kernels one by one (true or false).",
                "true",
            ),
            "allow.poll_steps": WorkloadKey(
                "Decode steps between two looks at the queue of new requests (counts, each a choice), as your servers "
                "are told (SGLang's --scheduler-recv-interval); none named: the engine's own.",
                "[10]",
            ),
            "allow.stream_interval": WorkloadKey(
                "Tokens of a streamed piece (counts, each a choice), as your servers are told (--stream-interval); "
                "none named: the engine's own.",
                "[20]",
            ),
            "allow.clock_mhz": WorkloadKey(
                "Locked clocks of the devices' cores that are tried beside devices as they are delivered (MHz).",
                "[1200, 1500]",
            ),
            "allow.power_limit_w": WorkloadKey(
                "Power limits of each device that are tried beside devices as they are delivered (W).", "[400, 550]"
            ),
            "allow.routing": WorkloadKey(
                "Routing policies that are compared, by id: the plan is proven under each, the cheapest is kept.",
                '["least_request", "prefix_load"]',
            ),
            "speculation": WorkloadKey(
                "Speculative decoding that may be used: tokens drafted in a step (choices), the share of drafted "
                "tokens that is kept (1), and the model that drafts; without one, n-grams of the sequence.",
                '{ draft = "llama_3_2_1b", tokens = [2, 4], acceptance = 0.7 }',
            ),
            "allow.providers": WorkloadKey(
                "Providers that may be rented from, by the names of the sites; none named: all of the kinds.",
                '["Lambda", "RunPod"]',
            ),
            "allow.kinds": WorkloadKey(
                "Kinds of providers: a cloud, a neocloud (a cloud of accelerators), a marketplace (other people's "
                "machines, at the price of one day), own. None named: all but marketplaces.",
                '["cloud", "neocloud", "own", "marketplace"]',
            ),
            "adapters": WorkloadKey(
                "LoRA adapters that requests name: how many (a count), their greatest rank (8, 16, 32, ...), slots for "
                "them in a replica's memory (counts, each a choice), and the exponent of their popularity (0: alike).",
                "{ count = 100, rank = 16, resident = [32, 100], skew = 1.0 }",
            ),
            "calibration": WorkloadKey(
                "Own measurements of your servers: the folder that `comptroller fit calibration --out` wrote.", '"mine"'
            ),
            "policies": WorkloadKey(
                "Who decides in the fleet: routing, batching, scheduling, by id or file.",
                '{ routing = "least_request" }',
            ),
            "seed": WorkloadKey("Seed of random draws (a count); the same seed gives the same plan.", "0"),
        },
    ),
)
"""The keys of a workload of requests in the order of the file. `quality`, `uncertainty` and `hours` have pages of their
own, which the file names."""

ELSEWHERE = {"quality": "docs/quality.md", "uncertainty": "docs/quality.md", "hours": "docs/hours.md"}
"""Keys that the file only names -> the page that explains them."""

WIDTH = 112
"""Columns of a comment: with its mark it ends before the 120 that terminals and editors have in common. Twice as many
wrap in both."""


@dataclass(frozen=True, slots=True)
class WorkloadAnswers:
    """What a new workload states.

    values: by dotted key.  remarks: further comments of a key, such as what a trace holds.
    """

    values: Mapping[str, Any]
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def workload_text(answers: WorkloadAnswers) -> str:
    """The file: keys that have a value, then, commented out with an example, those that may be added.

    >>> text = workload_text(WorkloadAnswers({"name": "chat", "models": ["llama_3_1_8b"], "rate_per_s": 5.0}))
    >>> [line for line in text.splitlines() if line[:1].isalpha()]
    ['name = "chat"', 'models = ["llama_3_1_8b"]', 'rate_per_s = 5.0']
    """
    return "\n".join(_lines(answers)) + "\n"


def _lines(answers: WorkloadAnswers) -> Iterator[str]:
    yield "# A workload for `comptroller plan`. A line that begins with #: may be added: take the mark away."
    for heading in HEADINGS:
        yield f"\n# --- {heading.title} ---"
        stated = [key for key in heading.keys if key in answers.values]
        for key in (*stated, *(key for key in heading.keys if key not in answers.values)):
            yield ""
            for sentence in (heading.keys[key].says, *answers.remarks.get(key, ())):
                yield from (
                    f"# {line}"
                    for line in textwrap.wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)
                )
            if key in answers.values:
                yield f"{key} = {in_toml(answers.values[key])}"
            else:
                yield f"#: {key} = {heading.keys[key].example}"
    yield ""
    for key, page in ELSEWHERE.items():
        yield f"# {key}: see {page}."


def in_toml(value: Any) -> str:
    """A value as TOML.

    >>> in_toml({"p": 95, "max": 1.5, "unit": "s"}), in_toml(["a", "b"])
    ('{ p = 95, max = 1.5, unit = "s" }', '["a", "b"]')
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {in_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def trace_remarks(trace: RequestTrace) -> tuple[str, ...]:
    """What a trace holds, for the comments of the workload that is made from it."""
    dropped = f", {trace.dropped} bad rows left out" if trace.dropped else ""
    return (
        f"It holds {len(trace):,} requests over {trace.span_s / 3600:.3g} h: {trace.rate_per_s:.4g} requests/s, mean "
        f"{trace.input_tokens.mean():,.0f} tokens in, {trace.output_tokens.mean():,.0f} out{dropped}.",
    )
