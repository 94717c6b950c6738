"""Burnish trains language models to reason by reinforcement learning with verifiable rewards.

Importing this package loads nothing heavy; every room is imported by name (`burnish.verify`, `burnish.algos`, ...).
"""

__version__ = "0.1.0"
