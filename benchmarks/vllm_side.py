"""vLLM's side of benchmarks/sampling.py, in a Python that has it: python vllm_side.py SETTINGS.json. Not for: use without that script.

Its prefix cache is emptied before every go, as training must between two versions of the weights; within a go the samples of a
prompt share it.
"""

from __future__ import annotations

import sys
import time

from turns import settings_of


def main() -> None:
    settings, turns = settings_of(sys.argv)
    import torch
    import vllm
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=settings["model"],
        skip_tokenizer_init=True,
        dtype=settings["dtype"],
        max_model_len=max(map(len, settings["prompts"])) + settings["max_new"],
        max_num_seqs=settings["rows"],
        max_num_batched_tokens=settings["batch_tokens"],
        enforce_eager=settings["graphs"] == "eager",
        enable_prefix_caching=settings["prefix_cache"] == "on",
        disable_log_stats=True,
        seed=settings["seed"],
    )
    params = SamplingParams(
        n=settings["samples"],
        temperature=1.0,
        max_tokens=settings["max_new"],
        stop_token_ids=list(settings["stop_ids"]),
        ignore_eos=True,
        detokenize=False,
    )

    def go(prompts: list[list[int]]) -> list[int]:
        outputs = engine.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        return [len(one.token_ids) for output in outputs for one in output.outputs]

    prompts = [list(ids) for ids in settings["prompts"]]
    go(prompts[:2])
    turns.facts = {"vllm": vllm.__version__, "torch": torch.__version__}
    turns.say("ready")
    while True:
        engine.reset_prefix_cache()
        turns.wait()
        began = time.perf_counter()
        lengths = go(prompts)
        turns.rows.append({"seconds": time.perf_counter() - began, "tokens": sum(lengths), "longest": max(lengths)})
        turns.say("done")


if __name__ == "__main__":
    main()
