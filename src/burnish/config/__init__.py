"""TOML + dotted overrides -> validated, frozen settings. An unknown key names its nearest neighbour; nothing is ignored.

    config = load(RunConfig, "run.toml", ["optimizer.lr=2e-4", "steps.total=20"])

settings.py holds the reader and the settings of runs that sample, supervised.py those of runs that do not.

Not for: loading models or data (a config that validates may still name a file that does not exist).
"""

from burnish.config import markdown
from burnish.config.base import Settings
from burnish.config.selection import SelectionConfig, StepsConfig, StoredConfig
from burnish.config.settings import (
    CorpusConfig,
    CriticConfig,
    EvaluateConfig,
    LearnedRewardConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    PretrainOptimizerConfig,
    RecipeConfig,
    RunConfig,
    SamplingConfig,
    ScratchConfig,
    TaskConfig,
    VerifyConfig,
    differences,
    dumps,
    load,
    validate,
)
from burnish.config.supervised import (
    LossConfig,
    PairRowsConfig,
    PassesConfig,
    PreferenceConfig,
    ReferenceConfig,
    RewardModelConfig,
    RowsConfig,
    SelectConfig,
    SelectFromConfig,
    SftConfig,
    SftRowsConfig,
    StartConfig,
)

KINDS: tuple[tuple[type[Settings], str], ...] = (
    (RunConfig, "burnish train"),
    (PretrainConfig, "burnish pretrain"),
    (SftConfig, "burnish sft"),
    (RewardModelConfig, "burnish rm"),
    (PreferenceConfig, "burnish dpo"),
    (SelectConfig, "burnish select"),
)
"""The settings of each verb that takes a run file."""


def reference() -> str:
    """The configuration reference as Markdown, generated from the models."""
    return markdown.reference(KINDS)


__all__ = [
    "KINDS",
    "CorpusConfig",
    "CriticConfig",
    "EvaluateConfig",
    "LearnedRewardConfig",
    "LoraConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PairRowsConfig",
    "PassesConfig",
    "PreferenceConfig",
    "PretrainConfig",
    "PretrainOptimizerConfig",
    "RecipeConfig",
    "ReferenceConfig",
    "RewardModelConfig",
    "RowsConfig",
    "RunConfig",
    "SamplingConfig",
    "ScratchConfig",
    "SelectConfig",
    "SelectFromConfig",
    "SelectionConfig",
    "Settings",
    "SftConfig",
    "SftRowsConfig",
    "StartConfig",
    "StepsConfig",
    "StoredConfig",
    "TaskConfig",
    "VerifyConfig",
    "differences",
    "dumps",
    "load",
    "reference",
    "validate",
]
