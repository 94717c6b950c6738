"""A language model as judge: rubric in, structured verdict out, by majority, with a cache and a count of what it cost.

For what no program can check. Not for what one can: a program is cheaper, and cannot be talked to.

    judge = Judge(Endpoint("http://127.0.0.1:8000/v1", "my-model"), votes=3)     # in my_judge.py
    burnish verify rows.jsonl --verifier my_judge:judge --deadline 90 --out judged.jsonl
"""

from burnish.verify.llm_judge.endpoint import Endpoint
from burnish.verify.llm_judge.judging import Cost, Judge, Local, StepVerdicts
from burnish.verify.llm_judge.rubric import EQUIVALENCE, Criterion, Rubric

__all__ = ["EQUIVALENCE", "Cost", "Criterion", "Endpoint", "Judge", "Local", "Rubric", "StepVerdicts"]
