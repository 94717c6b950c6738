"""What `burnish explain` says. Not for: the words themselves (burnish.algos.explain)."""

from __future__ import annotations

from typing import Any

from burnish.algos import explain as words
from burnish.algos.recipes import RECIPES, recipe


def explain(name: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """A recipe with settings changed, or the list of all. Raises ConfigError as `burnish.algos.recipes.recipe` does."""
    if name is None:
        return {"recipes": {known: each.paper for known, each in RECIPES.items()}, "text": words.catalogue()}
    base = RECIPES.get(name)
    if base is not None and not settings and base.reduction == "constant" and base.constant is None:
        chosen = base  # its length is the run's, and need not be known to be explained
    else:
        chosen = recipe(name, **settings)
    return {
        "recipe": chosen.name,
        "paper": chosen.paper,
        "peers": chosen.peers,
        "settings": words.settings_of(chosen),
        "text": words.explain(chosen),
    }
