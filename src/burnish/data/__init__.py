"""Work on data sets as pure mechanisms: near-duplicates, contamination, difficulty, mixing, and what a file holds.

Not for: reading file formats (burnish.tasks.files), the verbs and their files (burnish.pipelines.data), or training.
"""
