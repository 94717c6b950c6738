"""The mathematics of the training signal, pure: reward, credit, objective and losses, reduce, recipes.

A verdict becomes a reward, rewards become advantages, advantages become a loss a token, and a reduction says what each
token weighs. The four are separate axes; a recipe is a named choice of one of each. Only `losses` imports torch.

Not for: sampling, judging, networks, batches or optimizers.
"""
