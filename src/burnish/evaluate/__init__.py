"""How good a policy is: statistics (pure) and the harness. Reads verdicts, never rewards.

Not for: choosing what to train on.
"""
