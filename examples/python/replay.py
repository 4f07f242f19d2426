"""What a strategy solves on recorded answers, beside one greedy answer, with intervals."""

from comptroller import replay
from comptroller.strategies.spelling import parse
from comptroller.work.evidence_readers import read_evidence

study = replay(read_evidence("own"), [parse("sample_and_vote(n=4)")])
for setting in study.settings:
    score = setting.score
    print(f"{setting.who:40} {setting.strategy:22} {score.value:.3f} [{score.low:.3f} to {score.high:.3f}]")
