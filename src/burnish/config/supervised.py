"""Settings of what learns without sampling: sft, rm, dpo, select. Not for: reading or validating files (settings.py does)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from burnish.config.base import Count, Positive, Rate, Settings, Text, Unit
from burnish.config.settings import (
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    SamplingConfig,
    ScratchConfig,
    VerifyConfig,
)


class PassesConfig(Settings):
    """How long, and how much at once."""

    epochs: Rate = Field(1.0, description="Passes over the training rows; a part of one is allowed.")
    total: Positive | None = Field(None, description="Optimizer steps; as many as epochs ask for if not given.")
    rows: Positive = Field(64, description="Rows (pairs, for preferences) of one optimizer step.")
    checkpoint_every: Positive = Field(50, description="Steps between checkpoints.")

    @model_validator(mode="after")
    def _one(self) -> PassesConfig:
        if self.total and "epochs" in self.model_fields_set and self.epochs != 1.0:
            raise ValueError("epochs has no effect where total is given; leave one of them out")
        return self


class StartConfig(ModelConfig):
    """The model to start from: a folder, a hub name, or a small one from scratch where `path` is "scratch"."""

    path: Text = Field(description='A local folder, a hub name, or "scratch" for a small model with random weights.')


class RowsConfig(Settings):
    """Rows to learn from: .jsonl, .json, .csv, .parquet, or a data set of the hub (owner/name:config@split)."""

    train: Text = Field(description="The training rows.")
    held_out: str | None = Field(None, description="Rows to measure on; a share of the training rows if not given.")
    held_out_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share of the training prompts that is kept to measure on; all rows of a prompt go together."
    )
    template: Literal["chat", "none"] = Field(
        "chat", description="Whether a plain prompt is rendered with the chat template, or stands as it is."
    )
    prompt: Text = Field("prompt", description="Field that holds the prompt (text, or a list of chat messages).")
    max_tokens: Count = Field(
        0, description="Rows longer than this are left out, and counted; 0 is the model's context."
    )

    @model_validator(mode="after")
    def _one_split(self) -> RowsConfig:
        if self.held_out is not None and self.held_out_share:
            raise ValueError("held_out_share has no effect where held_out is given; leave one of them out")
        return self


class SftRowsConfig(RowsConfig):
    """Rows of sft: chat (`messages`), a prompt and its completion, or plain `text`."""

    messages: Text = Field("messages", description="Field that holds a conversation; its assistant turns are learned.")
    completion: Text = Field("completion", description="Field that holds what is learned after the prompt.")
    text: Text = Field("text", description="Field that holds plain text, all of which is learned.")
    completion_only: bool = Field(True, description="Learn completions only; false learns the prompts too.")


class PairRowsConfig(RowsConfig):
    """Preference rows: a prompt with a chosen and a rejected completion, or solutions labelled right and wrong."""

    chosen: Text = Field("chosen", description="Field that holds the completion to prefer.")
    rejected: Text = Field("rejected", description="Field that holds the other one.")
    margin: str | None = Field(None, description="Field that holds by how much the chosen one should lead (rm only).")
    solutions: tuple[Text, ...] = Field(
        (),
        description="Fields that each hold {solution, is_correct}; right ones are paired with wrong ones of the same prompt. "
        "A run directory as `train` gives its verified rollouts the same way.",
    )
    pairs_per_prompt: Count = Field(0, description="Most pairs made of one prompt's solutions; 0 takes all.")


class SftConfig(Settings):
    """Supervised fine-tuning: `burnish sft RUN.toml`."""

    out: Text = Field("runs/sft", description="The run directory.")
    seed: Count = Field(1, description="Seeds the order of the rows, dropout and new weights.")
    model: StartConfig
    scratch: ScratchConfig = ScratchConfig()
    lora: LoraConfig = LoraConfig()
    data: SftRowsConfig
    packing: bool = Field(True, description="Lay rows end to end, each attending to itself alone; false pads them.")
    reduction: Literal["token_mean", "sequence_mean"] = Field(
        "token_mean", description="Whether every token or every row weighs the same in a step."
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-5)
    steps: PassesConfig = PassesConfig()


class RewardModelConfig(Settings):
    """A Bradley-Terry reward model: `burnish rm RUN.toml`."""

    out: Text = Field("runs/reward", description="The run directory.")
    seed: Count = Field(1, description="Seeds the order of the pairs, dropout and new weights.")
    model: StartConfig
    scratch: ScratchConfig = ScratchConfig()
    lora: LoraConfig = LoraConfig()
    data: PairRowsConfig
    centre: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="Weight of the squared sum of a pair's scores, which keeps them near zero."
    )
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-5)
    steps: PassesConfig = PassesConfig()

    @model_validator(mode="after")
    def _measured(self) -> RewardModelConfig:
        if self.data.held_out is None and not self.data.held_out_share:
            raise ValueError(
                "data.held_out and data.held_out_share are both missing; a reward model is measured on one"
            )
        return self


class LossConfig(Settings):
    """The preference loss and its settings."""

    name: Literal["dpo", "ipo", "cdpo", "kto", "orpo", "simpo"] = Field("dpo", description="Which loss.")
    beta: Rate = Field(0.1, description="Strength of the pull to the reference (orpo: not read; ipo: its tau).")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(0.1, description="cdpo: share of wrong labels.")
    gamma: Annotated[float, Field(ge=0.0)] = Field(0.5, description="simpo: by how much the chosen one should lead.")
    orpo_lambda: Rate = Field(0.1, description="orpo: weight of the odds ratio beside the cross entropy.")
    orpo_prompts: bool = Field(False, description="orpo: whether the cross entropy learns the prompts too.")
    ipo_mean: bool = Field(True, description="ipo: means a token, as published code; false takes the paper's sums.")
    desirable_weight: Rate = Field(1.0, description="kto: weight of chosen rows.")
    undesirable_weight: Rate = Field(1.0, description="kto: weight of rejected rows.")

    @model_validator(mode="after")
    def _effective(self) -> LossConfig:
        readers = {
            "label_smoothing": "cdpo",
            "gamma": "simpo",
            "orpo_lambda": "orpo",
            "orpo_prompts": "orpo",
            "ipo_mean": "ipo",
            "desirable_weight": "kto",
            "undesirable_weight": "kto",
        }
        for key, reader in readers.items():
            default = type(self).model_fields[key].default
            if key in self.model_fields_set and self.name != reader and getattr(self, key) != default:
                raise ValueError(f'{key} has no effect with name = "{self.name}"; only {reader} reads it')
        if self.name == "orpo" and self.beta != 0.1:
            raise ValueError("beta has no effect with orpo; its weight is orpo_lambda")
        return self


class ReferenceConfig(Settings):
    """The policy that dpo, ipo, cdpo and kto hold on to."""

    path: str | None = Field(None, description="Another model; the start itself if not given.")


class PreferenceConfig(Settings):
    """Preference learning: `burnish dpo RUN.toml`."""

    out: Text = Field("runs/dpo", description="The run directory.")
    seed: Count = Field(1, description="Seeds the order of the pairs, dropout and new weights.")
    model: StartConfig
    scratch: ScratchConfig = ScratchConfig()
    lora: LoraConfig = LoraConfig()
    data: PairRowsConfig
    loss: LossConfig = LossConfig()
    reference: ReferenceConfig = ReferenceConfig()
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-6)
    steps: PassesConfig = PassesConfig()

    @model_validator(mode="after")
    def _effective(self) -> PreferenceConfig:
        if self.reference.path is not None and self.loss.name in ("orpo", "simpo"):
            raise ValueError(
                f"reference.path has no effect with {self.loss.name}, which has no reference; leave it out"
            )
        if self.data.margin is not None:
            raise ValueError("data.margin has no effect here; only burnish rm reads a margin")
        return self


class SelectFromConfig(Settings):
    """Where candidates come from: stored rollouts of a run, or a model that is sampled on a task."""

    run: str | None = Field(None, description="A run directory whose stored rollouts are chosen from.")
    model: str | None = Field(None, description="A model to sample; needs task.")
    task: str | None = Field(None, description="The task whose training problems are sampled.")
    options: dict[str, Any] = Field(default_factory=dict, description="The task's own options.")
    system: str | None = Field(None, description="A system message put before every problem.")
    thinking: bool | None = Field(
        None, description="Whether the chat template's thinking mode is on; as the template has it if not given."
    )
    problems: Positive = Field(256, description="How many problems are sampled.")
    samples: Positive = Field(8, description="Completions for each.")

    @model_validator(mode="after")
    def _one(self) -> SelectFromConfig:
        if (self.run is None) == (self.model is None):
            raise ValueError("give either run (stored rollouts) or model (and task), not both and not neither")
        if (self.model is None) != (self.task is None):
            raise ValueError("model and task go together; give both or neither")
        return self


class SelectConfig(Settings):
    """Best-of-n rejection sampling to a data set: `burnish select RUN.toml`."""

    out: Text = Field("runs/selected", description="The directory of kept.jsonl, removed.jsonl and report.json.")
    seed: Count = Field(1, description="Seeds problems and sampling.")
    source: SelectFromConfig
    by: Literal["verifier", "reward_model"] = Field(
        "verifier", description="verifier keeps right ones, shortest first; reward_model keeps the highest scored."
    )
    reward_model: str | None = Field(None, description="The reward model's folder, with by = reward_model.")
    right_only: bool = Field(True, description="Whether only completions judged right may be kept.")
    keep: Positive = Field(1, description="Most completions kept for each problem.")
    min_score: Unit | None = Field(None, description="With reward_model: lowest s(score), from 0 to 1, that is kept.")
    max_pass_rate: Unit = Field(1.0, description="Problems solved more often than this are left out as too easy.")
    sampling: SamplingConfig = SamplingConfig()
    verify: VerifyConfig = VerifyConfig()

    @model_validator(mode="after")
    def _effective(self) -> SelectConfig:
        if (self.by == "reward_model") != (self.reward_model is not None):
            raise ValueError('by = "reward_model" and the key reward_model go together; give both or neither')
        if self.min_score is not None and self.by != "reward_model":
            raise ValueError('min_score has no effect with by = "verifier"')
        if not self.right_only and self.by == "verifier":
            raise ValueError('right_only = false has no effect with by = "verifier", which keeps right ones')
        return self
