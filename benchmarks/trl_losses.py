"""TRL's side of benchmarks/parity_trl.py: one loss and its gradient for each trainer, in an environment of TRL's own.

    python trl_losses.py FOLDER

FOLDER holds policy/, reference/, reward/ (Hugging Face layouts), rows.jsonl (prompt, chosen, rejected) and settings.json. Written
back: for each loss NAME.json (the loss, the ids it was computed on) and NAME.safetensors (the gradient of every weight). Not for:
use without parity_trl.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def listed(ids: Any, mask: Any) -> list[list[int]]:
    return [[int(i) for i, keep in zip(row, kept, strict=True) if keep] for row, kept in zip(ids, mask, strict=True)]


def ids_of(name: str, batch: Any) -> dict[str, Any]:
    """The batch as plain lists: rows of ids, and the prompt's length of each."""
    if name == "orpo":
        rows = []
        for side in ("chosen", "rejected"):
            for ids, mask, labels in zip(
                batch[f"{side}_input_ids"], batch[f"{side}_attention_mask"], batch[f"{side}_labels"], strict=True
            ):
                kept = [int(i) for i, m in zip(ids, mask, strict=True) if m]
                learned = sum(int(label) != -100 for label in labels)
                rows.append({"ids": kept, "prompt": len(kept) - learned})
        return {"rows": rows}
    if name == "reward":
        return {"rows": [{"ids": ids, "prompt": 0} for ids in listed(batch["input_ids"], batch["attention_mask"])]}
    if name == "sft":
        found = []
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            kept = [int(i) for i, m in zip(ids, mask, strict=True) if m]
            found.append({"ids": kept, "prompt": len(kept) - sum(int(label) != -100 for label in labels)})
        return {"rows": found}
    out: dict[str, Any] = {}
    for key, prefix in (("rows", ""), ("mismatched", "KL_")):
        if f"{prefix}input_ids" not in batch:
            continue
        rows = listed(batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"])
        done = [int(sum(mask)) for mask in batch[f"{prefix}completion_mask"]]
        out[key] = [{"ids": ids, "prompt": len(ids) - n} for ids, n in zip(rows, done, strict=True)]
    if "label" in batch:
        out["labels"] = [bool(label) for label in batch["label"]]
    return out


def trainers(folder: Path, settings: dict[str, Any], rows: list[dict[str, str]]) -> Any:
    """(name, a function that makes its trainer), one after the other."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl import (
        DPOConfig,
        DPOTrainer,
        KTOConfig,
        KTOTrainer,
        RewardConfig,
        RewardTrainer,
        SFTConfig,
        SFTTrainer,
    )
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    def model(name: str = "policy") -> Any:
        kind = AutoModelForSequenceClassification if name == "reward" else AutoModelForCausalLM
        return kind.from_pretrained(folder / name, dtype=torch.float32, attn_implementation="eager")

    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    pairs = Dataset.from_list(rows)
    common = {
        "output_dir": str(folder / "scratch"),
        "per_device_train_batch_size": len(rows),
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "max_length": 512,
        "dataloader_pin_memory": False,
    }
    beta = settings["beta"]
    yield (
        "sft",
        lambda: SFTTrainer(
            model=model(),
            args=SFTConfig(**common, completion_only_loss=True, shuffle_dataset=False),
            train_dataset=Dataset.from_list([{"prompt": r["prompt"], "completion": r["chosen"]} for r in rows]),
            processing_class=tokenizer,
        ),
    )
    for kind in ("sigmoid", "ipo"):
        yield (
            "dpo" if kind == "sigmoid" else kind,
            lambda kind=kind: DPOTrainer(
                model=model(),
                ref_model=model("reference"),
                args=DPOConfig(**common, beta=beta, loss_type=[kind]),
                train_dataset=pairs,
                processing_class=tokenizer,
            ),
        )
    yield (
        "orpo",
        lambda: ORPOTrainer(
            model=model(),
            args=ORPOConfig(**common, beta=settings["orpo_lambda"], remove_unused_columns=False),
            train_dataset=pairs,
            processing_class=tokenizer,
        ),
    )
    singles = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in rows
        for side in ("chosen", "rejected")
    ]
    yield (
        "kto",
        lambda: KTOTrainer(
            model=model(),
            ref_model=model("reference"),
            args=KTOConfig(**{**common, "per_device_train_batch_size": len(singles)}, beta=beta, loss_type="kto"),
            train_dataset=Dataset.from_list(singles),
            processing_class=tokenizer,
        ),
    )
    yield (
        "reward",
        lambda: RewardTrainer(
            model=model("reward"),
            args=RewardConfig(**common),
            train_dataset=Dataset.from_list(
                [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows]
            ),
            processing_class=tokenizer,
        ),
    )


def main() -> None:
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]

    import torch
    import trl
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    (folder / "versions.json").write_text(json.dumps({"trl": trl.__version__, "torch": torch.__version__}))
    for name, make in trainers(folder, settings, rows):
        try:
            trainer = make()
            batch = next(iter(trainer.get_train_dataloader()))
            trainer.model.train()
            loss = trainer.compute_loss(trainer.model, dict(batch))
            loss.backward()
        except Exception as error:  # noqa: BLE001  # one trainer that does not run must not hide the others
            (folder / f"{name}.json").write_text(json.dumps({"failed": f"{type(error).__name__}: {error}"[:400]}))
            continue
        gradients = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
        save_file(gradients, str(folder / f"{name}.safetensors"))
        (folder / f"{name}.json").write_text(json.dumps({"loss": float(loss.detach()), **ids_of(name, batch)}))


if __name__ == "__main__":
    main()
