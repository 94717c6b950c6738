"""The network: load and save, a small model from scratch, attention, the one SamplingDistribution.

For: everything that knows what a causal language model is made of. Not for: prompts, rollouts, losses.
"""
