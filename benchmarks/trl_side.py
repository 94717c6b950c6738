"""TRL's side of benchmarks/step.py: runs in an environment of its own, told everything by a settings file.

    python trl_side.py SETTINGS.json

A go is one optimizer step (turns.py). Not for: use without step.py.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from turns import Turns, settings_of

FORM = re.compile(r"\s*(?:<think>.+?</think>)?\s*<answer>([^<]*)</answer>\s*", re.DOTALL)


def right(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """The reward: 1 for a well-formed response with the known answer in <answer>, else 0."""
    rewards = []
    for text, known in zip(completions, answer, strict=True):
        found = FORM.fullmatch(text)
        rewards.append(float(found is not None and found[1].strip() == known))
    return rewards


def timed_trainer(turns: Turns) -> Any:
    """GRPOTrainer with the seconds of its parts noted, and a callback that starts and ends a row.

    sampling   `_generate`: tokenizing the prompts, generation, decoding
    verifying  `_calculate_rewards`
    updating   everything else of the step: advantages, forward, backward, clipping, optimizer
    """
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    class Timed(GRPOTrainer):  # type: ignore[misc]
        row: dict[str, Any]

        def _generate(self, prompts: list[Any]) -> Any:
            began = time.perf_counter()
            output = super()._generate(prompts)
            self.row["sampling"] = time.perf_counter() - began
            self.row["lengths"] = [len(ids) for ids in output[1]]
            return output

        def _calculate_rewards(self, *args: Any) -> Any:
            began = time.perf_counter()
            rewards = super()._calculate_rewards(*args)
            self.row["verifying"] = time.perf_counter() - began
            self.row["right"] = float(rewards[:, 0].mean())
            return rewards

    class Pace(TrainerCallback):  # type: ignore[misc]
        trainer: Timed
        began: float

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()
            self.trainer.row = {}
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            row = self.trainer.row
            row["whole"] = time.perf_counter() - self.began
            row["updating"] = row["whole"] - row["sampling"] - row["verifying"]
            turns.rows.append(row)
            turns.say("done")

    return Timed, Pace()


def arguments(settings: dict[str, Any]) -> Any:
    """The trainer's settings: ours where the two have the same notion, and nothing on that only costs time."""
    from trl import GRPOConfig

    rows = settings["problems"] * settings["samples"]
    assert rows % settings["batch"] == 0, "the rows of a step must be a whole number of micro-batches"
    return GRPOConfig(
        output_dir=settings["scratch"],
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch"],
        gradient_accumulation_steps=rows // settings["batch"],
        num_generations=settings["samples"],
        num_iterations=1,
        max_completion_length=settings["max_new"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        loss_type="grpo",
        epsilon=0.2,
        scale_rewards="group",
        learning_rate=settings["lr"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.0,
        max_grad_norm=1.0,
        shuffle_dataset=False,
        use_vllm=False,
        use_transformers_continuous_batching=settings["generation"] == "continuous",
        cache_implementation="static" if settings["generation"] == "static" else None,
        gradient_checkpointing=False,
        bf16=settings["precision"] == "autocast",
        use_cpu=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=settings["seed"],
    )


def main() -> None:
    settings, turns = settings_of(sys.argv)
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(settings["threads"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(
        settings["model"],
        dtype=torch.bfloat16 if settings["precision"] == "bfloat16" else torch.float32,
        attn_implementation=settings["attention"],
    )
    wanted = settings["steps"] * settings["problems"]
    lines = Path(settings["prompts"]).read_text().splitlines()[:wanted]
    problems = [json.loads(line) for line in lines]
    for problem in problems:
        assert tokenizer(text=problem["prompt"])["input_ids"] == problem["ids"], "the two sides' prompt ids differ"
    columns = [{"prompt": problem["prompt"], "answer": problem["answer"]} for problem in problems]
    kind, pace = timed_trainer(turns)
    pace.trainer = kind(
        model=model,
        reward_funcs=right,
        args=arguments(settings),
        train_dataset=Dataset.from_list(columns),
        processing_class=tokenizer,
        callbacks=[pace],
    )
    turns.facts = {
        "trl": trl.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    turns.say("ready")
    pace.trainer.train()


if __name__ == "__main__":
    main()
