"""The committed table of claims: every line the project promises is there, with its standing."""

import json
from pathlib import Path

import pytest

CLAIMS = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "claims.json").read_text(encoding="utf-8"))[
    "figures"
]["claims"]


def lines(word):
    return [claim for claim in CLAIMS if word in claim["claim"]]


def test_every_line_has_a_standing_and_says_on_what_it_rests():
    assert {claim["standing"] for claim in CLAIMS} == {"recorded", "drawn", "live", "modelled", "not reproducible here"}
    for claim in CLAIMS:
        assert claim["published"] and claim["ours"] and len(claim["data"]) > 15
        assert (claim["ours"] == "–") == (claim["standing"] == "not reproducible here")
    assert len({claim["claim"] for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("word", "standing", "figure"),
    [
        ("coverage rises as exp", "recorded", "1B 0.83% to 74.2%"),
        ("is forecast from 200", "recorded", "90 % intervals hold the truth in"),
        ("saves samples at a cap of 100", "recorded", "6.9B 30%"),
        ("saves samples at a cap of 1,000", "recorded", "6.9B 59%"),
        ("marginal gain against uniform, mean 100 samples, Pythia 6.9B", "recorded", "uniform 43.2%"),
        ("costs in reverse of its list prices", "recorded", "20 of 99 pairs"),
        ("thinking tokens make most reversals", "recorded", "7 remain without them"),
        ("RouteLLM's baselines on MMLU", "recorded", "random 0.50, oracle 1.285"),
        ("routers on MMLU", "recorded", "linear, text and domain 0.69"),
        ("generative_verification(s=8,v=2) against", "recorded", "once 22.9%"),
        ("sequential_revision(rounds=2,chains=4) against", "recorded", "once 22.9%"),
        ("choosing the setting by predicted difficulty", "recorded", "for one setting"),
        ("self-consistency first, verification", "modelled", "passes it from"),
        ("choosing model size by FLOPs alone", "modelled", "choices change"),
        ("sleep-time compute is 2.5x", "modelled", "2.5x if"),
        ("compute-optimal choice by difficulty saves 4x", "modelled", "4x is not reached"),
        ("ETS holds less cache than REBASE at an equal share", "drawn", "math_shepherd_7b"),
        ("HumanEval by LATS", "recorded", "of 90 tasks"),
        ("every strategy is replayed on a record", "recorded", "32 of 38"),
        ("every strategy is replayed, if not on a record", "live", "plan_and_execute"),
        ("10 searches over steps", "recorded", "by chance 4%"),
        ("every strategy is played in a drawn world", "drawn", "38 of 38"),
        ("every strategy is run live", "live", "38 of 38"),
        ("a memory within a budget", "live", "fewer tokens"),
        ("a chat query of an 8B model", "modelled", "of the device alone"),
        ("tools and the operating system", "recorded", "by its histograms"),
        ("the best place of a cache while a tool runs", "modelled", "host_memory"),
        ("a monitor cuts failing runs", "recorded", "repositories held out"),
        ("a monitor's file does live", "live", "0 lost"),
        ("Q4_0 is told from Q8_0", "live", "8 of 8"),
    ],
)
def test_every_promised_line_is_there(word, standing, figure):
    (claim,) = lines(word)
    assert claim["standing"] == standing
    assert figure in claim["ours"]
