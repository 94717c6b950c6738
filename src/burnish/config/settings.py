"""The settings of runs that sample, and their reader: TOML + dotted overrides -> validated, frozen settings.

Not for: loading models or data (a config that validates may still name a file that does not exist).
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tomli_w
from pydantic import Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from burnish.config.base import Count, Positive, Rate, Settings, Text, Unit
from burnish.config.selection import SelectionConfig, StepsConfig, StoredConfig
from burnish.errors import ConfigError


class ModelConfig(Settings):
    """The model to start from."""

    path: Text = Field(description="A local folder in the Hugging Face layout, or a hub name such as Qwen/Qwen3-0.6B.")
    compute: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="Precision of matrix products; weights stay float32."
    )
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = Field(
        "cpu", description="Where the model lives: cpu, cuda, or one of several as cuda:1."
    )


class LoraConfig(Settings):
    """Low-rank adapters (peft) instead of training every weight."""

    rank: Count = Field(0, description="Rank of the adapters; 0 trains every weight.")
    alpha: Rate = Field(16.0, description="The adapters' output is scaled by alpha / rank.")
    dropout: Unit = Field(0.0, description="Dropout before the adapters.")
    targets: tuple[Text, ...] = Field(
        (), description="Names of the linear layers that get one; all linear layers of the decoder if empty."
    )

    @model_validator(mode="after")
    def _effective(self) -> LoraConfig:
        idle = sorted(self.model_fields_set - {"rank"})
        if self.rank == 0 and any(getattr(self, key) != type(self).model_fields[key].default for key in idle):
            raise ValueError(f"{idle[0]} has no effect with rank = 0; give a rank, such as 16, or leave it out")
        return self


class TaskConfig(Settings):
    """What is learned."""

    name: Text = Field(
        description='chain, gsm8k, math, rows, ... (docs/tasks.md), or a task of your own as "my.module:attr".'
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="The task's own options, such as train and held_out."
    )
    system: str | None = Field(None, description="A system message put before every problem.")
    thinking: bool | None = Field(
        None, description="Whether the chat template's thinking mode is on; as the template has it if not given."
    )
    template_options: dict[str, Any] = Field(
        default_factory=dict, description="Further variables of the model's chat template."
    )


class SamplingConfig(Settings):
    """How rollouts are drawn. Training needs the whole distribution, so there is no top_p or top_k here."""

    temperature: Rate = Field(1.0, description="Divides the logits; the learner scores under the same temperature.")
    max_new: Positive = Field(256, description="Most tokens in one completion.")
    rows: Positive = Field(512, description="Most completions decoded together by the embedded engine.")
    cache_gib: Rate | None = Field(
        None, description="Most memory for keys and values; half of what is free if not given."
    )
    cache: Literal["auto", "bfloat16"] = Field(
        "auto", description="What they are kept in: the precision of the products, or half the memory of float32."
    )
    weights: Literal["auto", "int8"] = Field(
        "auto",
        description="Sample with the weights as they are, or rounded to eight bits (needs the compiled kernels).",
    )
    drafts: Text = Field(
        "off", description='Guesses ahead: "off", "lookup" (what followed before), or the folder of a smaller model.'
    )


class VerifyConfig(Settings):
    """How answers are judged."""

    workers: Positive = Field(2, description="Verifier processes.")
    deadline_s: Rate = Field(5.0, description="Seconds one answer may take; after that there is no verdict.")
    max_no_verdict: Unit = Field(0.1, description="The run stops when a larger share of a step has no verdict.")


class RecipeConfig(Settings):
    """The training signal: a named recipe and what you change of it (`burnish.algos.recipes`)."""

    name: Text = Field("grpo", description="A name that `burnish explain` lists, such as grpo, dapo or rloo.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of the recipe, such as clip_high or kl_coefficient."
    )


class OptimizerConfig(Settings):
    """AdamW and its schedule."""

    lr: Rate = Field(1e-6, description="Peak learning rate.")
    warmup_updates: Count = Field(0, description="Optimizer steps over which the rate rises linearly from zero.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="What the rate does after the warm-up."
    )
    final_lr_share: Unit = Field(0.0, description="Where a linear or cosine schedule ends, as a share of lr.")
    beta1: Unit = Field(0.9, description="AdamW's first decay rate.")
    beta2: Unit = Field(0.95, description="AdamW's second decay rate.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="Decoupled weight decay, on matrices only.")
    clip_norm: Rate = Field(1.0, description="The gradient is scaled down to this norm.")
    micro_batch_tokens: Positive = Field(8192, description="Most padded tokens in one forward and backward pass.")
    gradient_checkpointing: bool = Field(
        False,
        description="Keep only what goes into each layer and compute the rest again: the same gradient in less memory.",
    )

    @model_validator(mode="after")
    def _effective(self) -> OptimizerConfig:
        if self.schedule == "constant" and "final_lr_share" in self.model_fields_set and self.final_lr_share != 0.0:
            raise ValueError(
                'final_lr_share has no effect with schedule = "constant"; choose "linear" or "cosine", or leave it out'
            )
        return self


class PretrainOptimizerConfig(OptimizerConfig):
    """AdamW and its schedule, at a rate that suits a small model from scratch."""

    lr: Rate = Field(2e-3, description="Peak learning rate.")


class EvaluateConfig(Settings):
    """How the held-out problems are measured, before and after."""

    problems: Count = Field(500, description="How many held-out problems; 0 measures nothing.")
    samples: Positive = Field(4, description="Completions for each.")
    ks: tuple[Positive, ...] = Field(
        (1,), min_length=1, description="The k of pass@k and maj@k; none may exceed samples."
    )

    @model_validator(mode="after")
    def _enough(self) -> EvaluateConfig:
        if self.problems and max(self.ks) > self.samples:
            raise ValueError(f"k = {max(self.ks)} needs at least as many samples, but samples = {self.samples}")
        return self


class CriticConfig(Settings):
    """The value function of recipes that have one (ppo); how its loss is made is the recipe's to say."""

    trunk: Literal["own", "shared"] = Field(
        "own",
        description="own: a network of its own, a copy of the policy's to begin with; shared: a head on the policy's.",
    )
    path: str | None = Field(None, description="trunk own: another model or reward model to start from.")
    lr: Rate = Field(1e-5, description="Learning rate of the head, and of the trunk where it is its own.")

    @model_validator(mode="after")
    def _effective(self) -> CriticConfig:
        if self.trunk == "shared" and self.path is not None:
            raise ValueError("path has no effect with trunk = shared, which starts from the policy; leave it out")
        return self


class LearnedRewardConfig(Settings):
    """A learned reward model; s(score) of every rollout joins its verdict as the part "reward_model", which a recipe can weigh."""

    path: str | None = Field(None, description="A folder that `burnish rm` wrote; none if not given.")


class RunConfig(Settings):
    """A reinforcement-learning run: `burnish train RUN.toml`."""

    out: Text = Field("runs/run", description="The run directory.")
    seed: Count = Field(1, description="Seeds problems, sampling and minibatches.")
    model: ModelConfig
    lora: LoraConfig = LoraConfig()
    task: TaskConfig
    sampling: SamplingConfig = SamplingConfig()
    verify: VerifyConfig = VerifyConfig()
    recipe: RecipeConfig = RecipeConfig()
    critic: CriticConfig = CriticConfig()
    reward_model: LearnedRewardConfig = LearnedRewardConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: StepsConfig = StepsConfig()
    selection: SelectionConfig = SelectionConfig()
    stored: StoredConfig = StoredConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _selection_samples(self) -> RunConfig:
        chooses = self.selection.refill > 1.0 or self.selection.curriculum
        if self.stored.rollouts is not None and (chooses or self.steps.max_lag):
            idle = "selection" if chooses else "steps.max_lag"
            raise ValueError(f"{idle} has no effect with stored.rollouts: what was sampled is given; leave it out")
        return self


class ScratchConfig(Settings):
    """A small model from scratch, through transformers' own config class."""

    model_type: Text = Field("qwen3", description="Any decoder family transformers knows.")
    hidden_size: Positive = Field(256, description="Width of the residual stream.")
    intermediate_size: Positive = Field(768, description="Width inside the feed-forward layers.")
    num_hidden_layers: Positive = Field(3, description="Layers.")
    num_attention_heads: Positive = Field(4, description="Query heads.")
    num_key_value_heads: Positive = Field(2, description="Key and value heads; the query heads share them evenly.")
    head_dim: Positive = Field(64, description="Width of a head.")
    max_position_embeddings: Positive = Field(512, description="The context, in tokens.")
    initializer_range: Rate = Field(0.05, description="Standard deviation of the random weights.")
    vocab_size: Annotated[int, Field(ge=272)] = Field(
        384, description="At most this many tokens: 256 bytes, the named ones, and words."
    )

    @model_validator(mode="after")
    def _shared(self) -> ScratchConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads = {self.num_attention_heads} cannot be shared evenly by num_key_value_heads = "
                f"{self.num_key_value_heads}; choose a multiple"
            )
        return self


class CorpusConfig(Settings):
    """Documents written by a task's own generator."""

    task: Text = Field("chain", description="A task that can write documents: chain or countdown.")
    options: dict[str, Any] = Field(default_factory=dict, description="The task's own options.")
    documents: dict[str, Any] = Field(
        default_factory=dict, description="Options of the task's generator, such as think_share."
    )
    tokenizer_documents: Positive = Field(2000, description="How many documents the tokenizer is trained on.")


class PretrainConfig(Settings):
    """Pretraining a small model on a generated corpus: `burnish pretrain RUN.toml`."""

    out: Text = Field("runs/base", description="Where the model is written, in the Hugging Face layout.")
    seed: Count = Field(1, description="Seeds the weights and the corpus.")
    compute: Literal["auto", "bfloat16", "float32"] = Field("auto", description="Precision of matrix products.")
    scratch: ScratchConfig = ScratchConfig()
    corpus: CorpusConfig = CorpusConfig()
    optimizer: PretrainOptimizerConfig = PretrainOptimizerConfig()
    updates: Positive = Field(600, description="Optimizer steps.")
    documents: Positive = Field(64, description="Whole documents a step, each a row of its own.")


TRUNCATION = ("sampling.top_p", "sampling.top_k", "sampling.min_p")

C = TypeVar("C", bound=Settings)


def load(kind: type[C], path: str | Path | None, overrides: Sequence[str] = ()) -> C:
    """Read `path` (none: an empty file), apply `key.sub=value` overrides, validate. Raises ConfigError with one sentence."""
    data: dict[str, Any] = {}
    where = "the command line"
    if path is not None:
        where = str(path)
        try:
            data = tomllib.loads(Path(path).read_text())
        except FileNotFoundError as error:
            raise ConfigError(
                f"The run file {path} does not exist; check the path, or start from one in examples/."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The run file {path} cannot be read: {error}.") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"The run file {path} is not valid TOML: {error}.") from error
    for override in overrides:
        _override(data, override)
    return validate(kind, data, where)


def validate(kind: type[C], data: Mapping[str, Any], where: str = "the config") -> C:
    """Validate a mapping. Raises ConfigError naming the first key at fault and, for an unknown one, its nearest neighbour."""
    try:
        # As JSON and strictly: "3" is no number, true is not 1, and a list makes a tuple. (default: TOML's dates.)
        return kind.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            if key in TRUNCATION:
                raise ConfigError(
                    f"{where} has {key}, and training needs the whole distribution: which tokens a truncated sampler could have drawn is "
                    "not stored, so the learner cannot score its rollouts. Leave it out; burnish eval takes --top-p and --top-k."
                ) from error
            section = _section(kind, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), section, n=1, cutoff=0.4)
            hint = (
                f"did you mean {'.'.join([*map(str, first['loc'][:-1]), near[0]])!r}?"
                if near
                else f"it takes {', '.join(section)}."
            )
            raise ConfigError(f"{where} has an unknown key {key!r}; {hint}") from error
        if first["type"] == "missing":
            lacking = _first_required(kind, first["loc"])
            raise ConfigError(
                f"{where} lacks the key {lacking!r}; add it, or give it on the command line as {lacking}=..."
            ) from error
        if first["type"] == "value_error":  # of our own: it names its values itself
            raise ConfigError(
                f"{where}: {key}{': ' if key else ''}{first['msg'].removeprefix('Value error, ')}."
            ) from error
        reason = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(f"{where}: {key or 'the settings'} is {_short(first['input'])}: {reason}.") from error


def dumps(config: Settings) -> str:
    """The resolved settings as TOML; `load` reads the same settings back."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def differences(one: Settings, other: Settings) -> list[str]:
    """The dotted keys in which two settings differ, with both values: "optimizer.lr: 0.1 there, 0.2 here"."""
    left, right = dict(_flat(one.model_dump(mode="json"))), dict(_flat(other.model_dump(mode="json")))
    return [
        f"{key}: {left.get(key)!r} there, {right.get(key)!r} here"
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    ]


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"The override {override!r} is not of the form key.sub=value.")
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, name = key.split(".")
    place: Any = data
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(f"The override {override!r} goes into {section!r}, which is a value and no section.")
    place[name] = value


def inner_of(field: FieldInfo) -> type[Settings] | None:
    """The section a field holds, or None where it holds a value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _section(kind: type[Settings], loc: Sequence[Any]) -> list[str]:
    for part in loc:
        inner = inner_of(kind.model_fields[str(part)])
        assert inner is not None
        kind = inner
    return list(kind.model_fields)


def _first_required(kind: type[Settings], loc: Sequence[Any]) -> str:
    """The key that is missing; where a whole section is, its first required one."""
    path: list[str] = []
    field: FieldInfo | None = None
    for part in map(str, loc):
        field = kind.model_fields[part]
        kind = inner_of(field) or kind
        path.append(part)
    if field is not None and inner_of(field) is not None:
        path += [next(name for name, inner in kind.model_fields.items() if inner.is_required())]
    return ".".join(path)


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
