"""Samples in, new weights out. Blind to algorithms: an objective and its weights are handed in. Not for: rewards or rollouts."""
