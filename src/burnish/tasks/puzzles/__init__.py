"""Puzzles that make themselves: seeded, endless, in levels of difficulty, each with an answer its maker has solved for.

One module a family; `burnish.tasks.puzzles.made.Puzzle` is what they share. Not for: judging an answer (burnish.verify.puzzles).
"""
