"""TRL's side of benchmarks/learner.py: supervised updates on given rows. python trl_update.py FOLDER. Not for: use without it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from turns import keep_freed_memory


def main() -> None:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    keep_freed_memory()

    import torch
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(settings["threads"])
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.began)

    best: dict[str, Any] = {}
    for parts in settings["parts"]:
        seconds.clear()
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(
                folder / "model", dtype=torch.float32, attn_implementation="sdpa"
            ),
            args=SFTConfig(
                output_dir=str(folder / "scratch"),
                max_steps=settings["steps"] + 1,
                per_device_train_batch_size=len(rows) // parts,
                gradient_accumulation_steps=parts,
                gradient_checkpointing=False,
                bf16=settings["autocast"],
                use_cpu=True,
                optim="adamw_torch_fused",
                max_length=4096,
                completion_only_loss=True,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                logging_strategy="no",
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list([{"input_ids": r["ids"], "completion_mask": r["mask"]} for r in rows]),
            processing_class=AutoTokenizer.from_pretrained(folder / "model"),
            callbacks=[Clock()],
        )
        trainer.train()
        median = sorted(seconds[1:])[(len(seconds) - 1) // 2]
        if not best or median < best["seconds"]:
            best = {"seconds": median, "parts": parts, "trl": trl.__version__}
    (folder / "trl.json").write_text(json.dumps(best))


if __name__ == "__main__":
    main()
