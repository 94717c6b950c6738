"""TRL's side of benchmarks/learner.py: supervised updates on given rows, in an environment of its own.

    python trl_update.py SETTINGS.json

A go is one optimizer step (turns.py). Not for: use without learner.py.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from turns import settings_of


def arguments(settings: dict[str, Any]) -> Any:
    """The trainer's settings: ours where the two have the same notion, and nothing on that only costs time."""
    from trl import SFTConfig

    assert settings["rows"] % settings["parts"] == 0, "the rows of a step must be a whole number of micro-batches"
    return SFTConfig(
        output_dir=settings["scratch"],
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["rows"] // settings["parts"],
        gradient_accumulation_steps=settings["parts"],
        train_sampling_strategy=settings["order"],
        gradient_checkpointing=False,
        bf16=settings["precision"] == "autocast",
        use_cpu=True,
        learning_rate=settings["lr"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=4096,
        completion_only_loss=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


def main() -> None:
    settings, turns = settings_of(sys.argv)
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTTrainer

    torch.set_num_threads(settings["threads"])
    rows = [json.loads(line) for line in Path(settings["examples"]).read_text().splitlines()]
    assert len(rows) == settings["rows"]

    class Pace(TrainerCallback):  # type: ignore[misc]
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.wait()
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.rows.append({"whole": time.perf_counter() - self.began})
            turns.say("done")

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            settings["model"],
            dtype=torch.bfloat16 if settings["precision"] == "bfloat16" else torch.float32,
            attn_implementation=settings["attention"],
        ),
        args=arguments(settings),
        train_dataset=Dataset.from_list([{"input_ids": r["ids"], "completion_mask": r["mask"]} for r in rows]),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
        callbacks=[Pace()],
    )
    turns.facts = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    turns.say("ready")
    trainer.train()


if __name__ == "__main__":
    main()
