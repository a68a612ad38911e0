"""How well an index answers: judged queries against each leg, each fusion, and the search that users get.

judged = read_judged(Path("queries.json"))
with vecloom.Index.open("my-index") as index:
    for run in summarised(evaluate(index, judged)):
        print(run.name, run.metrics["ndcg"].mean)
"""

from __future__ import annotations

from vecloom.evaluate.evaluation import Evaluation, Run, evaluate
from vecloom.evaluate.formats import read_judged
from vecloom.evaluate.judged import Judged, JudgedQuery, Problem, Target
from vecloom.evaluate.summary import Comparison, RunSummary, compared, summarised

__all__ = [
    "Comparison",
    "Evaluation",
    "Judged",
    "JudgedQuery",
    "Problem",
    "Run",
    "RunSummary",
    "Target",
    "compared",
    "evaluate",
    "read_judged",
    "summarised",
]
