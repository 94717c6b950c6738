"""transformers' side of benchmarks/sampling.py and guard.py: `generate`, or `generate_batch`, in a Python that has transformers.

    python transformers_side.py SETTINGS.json

Prompts are sorted by length before they are cut into batches, so that little is padding. Not for: use without those scripts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from turns import settings_of


def ended(ids: Sequence[int], stop: frozenset[int]) -> int:
    """How many tokens the row really has: to its first stop id, that one too."""
    return next((place + 1 for place, one in enumerate(ids) if one in stop), len(ids))


def generation_config(settings: dict[str, Any]) -> Any:
    from transformers import CompileConfig, GenerationConfig

    config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=settings["max_new"],
        eos_token_id=list(settings["stop_ids"]),
        pad_token_id=settings["stop_ids"][0],
        num_return_sequences=settings["samples"],
    )
    if settings.get("cache") in ("static", "compiled"):
        config.cache_implementation = "static"
    if settings.get("cache") == "compiled":
        config.compile_config = CompileConfig(dynamic=None, fullgraph=False, mode=None)
        config.compile_config._compile_all_devices = True
    return config


def batches(model: Any, settings: dict[str, Any]) -> Callable[[list[list[int]]], list[int]]:
    """`model.generate` on left-padded batches of `batch` rows: prompts -> lengths."""
    import torch

    config, stop = generation_config(settings), frozenset(settings["stop_ids"])

    def go(prompts: list[list[int]]) -> list[int]:
        lengths = []
        ordered = sorted(prompts, key=len)
        count = max(1, settings["batch"] // settings["samples"])
        for start in range(0, len(ordered), count):
            part = ordered[start : start + count]
            width = max(map(len, part))
            ids = torch.tensor([[stop_id_of(settings)] * (width - len(one)) + one for one in part])
            mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in part])
            with torch.inference_mode():
                out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            lengths += [ended(row, stop) for row in out[:, width:].tolist()]
        return lengths

    return go


def stop_id_of(settings: dict[str, Any]) -> int:
    return int(settings["stop_ids"][0])


def continuous(model: Any, settings: dict[str, Any]) -> Callable[[list[list[int]]], list[int]]:
    """`model.generate_batch`: its own scheduler over a paged cache. prompts -> lengths."""
    from transformers import ContinuousBatchingConfig

    config, stop = generation_config(settings), frozenset(settings["stop_ids"])
    rows = len(settings["prompts"]) * settings["samples"]
    longest = max(map(len, settings["prompts"])) + settings["max_new"]
    page = settings["page_size"]
    batching = ContinuousBatchingConfig(
        page_size=page,
        num_blocks=rows * -(-longest // page),
        max_batch_tokens=settings["max_batch_tokens"],
        max_requests_per_batch=rows,
        allow_block_sharing=True,
        use_async_batching=False,
        use_cuda_graph=False,
    )

    def go(prompts: list[list[int]]) -> list[int]:
        found = model.generate_batch(
            inputs=prompts, generation_config=config, continuous_batching_config=batching, warmup=False
        )
        lengths = [ended(one.generated_tokens, stop) for one in found.values()]
        if len(lengths) != len(prompts) * settings["samples"]:
            raise SystemExit(f"generate_batch gave {len(lengths)} answers to {len(prompts)} prompts")
        return lengths

    return go


def main() -> None:
    settings, turns = settings_of(sys.argv)
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    model = AutoModelForCausalLM.from_pretrained(
        settings["model"], dtype=getattr(torch, settings["dtype"]), attn_implementation=settings["attention"]
    ).eval()
    go = (continuous if settings["mode"] == "continuous" else batches)(model, settings)
    prompts = [list(ids) for ids in settings["prompts"]]
    go(prompts if settings.get("cache") == "compiled" else prompts[:2])  # the first pass makes, and may compile
    turns.facts = {"transformers": transformers.__version__, "torch": torch.__version__}
    turns.say("ready")
    while True:
        turns.wait()
        began = time.perf_counter()
        lengths = go(prompts)
        turns.rows.append({"seconds": time.perf_counter() - began, "tokens": sum(lengths), "longest": max(lengths)})
        turns.say("done")


if __name__ == "__main__":
    main()
