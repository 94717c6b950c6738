"""Prompts in, completions out. `embedded` drives the learner's own module; `scripted` answers from a script.

An engine is `generate(requests) -> iterator of Completion`, `load(weights, version)` and `prove(ids)`; the protocol stands in
burnish.rollout, which needs it. Not for: rendering, judging, training.
"""
