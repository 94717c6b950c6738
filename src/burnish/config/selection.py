"""The settings of what a step is made of: how many and which problems, and whose rollouts. Not for: what they earn (the recipe's)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from burnish.config.base import Count, Positive, Rate, Settings, Text, Unit


class StepsConfig(Settings):
    """How much of everything."""

    total: Positive = Field(100, description="Steps of the run.")
    prompts: Positive = Field(64, description="Problems a step.")
    samples: Positive = Field(8, description="Completions for each problem.")
    updates: Positive = Field(1, description="Optimizer steps a step; the problems are dealt out among them.")
    max_lag: Count = Field(
        0,
        description="Steps a rollout may be late: above 0 none waits for its slowest rollouts, which go on in the next.",
    )
    checkpoint_every: Positive = Field(10, description="Steps between checkpoints.")
    max_flat: Positive = Field(5, description="The run stops after this many steps in a row without any signal.")


class SelectionConfig(Settings):
    """Which problems a step is made of."""

    refill: Annotated[float, Field(ge=1.0)] = Field(
        1.0,
        description="Above 1, problems without signal are replaced by others, up to this many times steps.prompts (DAPO).",
    )
    lowest_pass_rate: Unit = Field(0.0, description="Problems of levels measured below this are passed over.")
    highest_pass_rate: Unit = Field(1.0, description="Problems of levels measured above this are passed over.")
    explore: Unit = Field(
        0.1, description="The share of the passed-over that is taken all the same, to be measured again."
    )
    replay_share: Unit = Field(0.0, description="The share of a step's problems that are hard ones met before.")
    replay_below: Rate = Field(0.5, description="A problem is hard while its pass rate is below this.")

    @model_validator(mode="after")
    def _effective(self) -> SelectionConfig:
        if self.lowest_pass_rate > self.highest_pass_rate:
            raise ValueError(
                f"lowest_pass_rate = {self.lowest_pass_rate} is above highest_pass_rate = {self.highest_pass_rate}"
            )
        given = self.model_fields_set
        if "explore" in given and self.explore != 0.1 and (self.lowest_pass_rate, self.highest_pass_rate) == (0.0, 1.0):
            raise ValueError("explore has no effect without lowest_pass_rate or highest_pass_rate")
        if "replay_below" in given and self.replay_below != 0.5 and self.replay_share == 0.0:
            raise ValueError("replay_below has no effect without replay_share")
        return self

    @property
    def curriculum(self) -> bool:
        """Whether problems are chosen by what was measured."""
        return (self.lowest_pass_rate, self.highest_pass_rate) != (0.0, 1.0) or self.replay_share > 0.0


class StoredConfig(Settings):
    """Rollouts of an earlier run in place of sampling: `burnish train RUN.toml --from-rollouts RUN`."""

    rollouts: Text | None = Field(
        None, description="A run directory whose rollouts are trained on again; none: sample."
    )
    rejudge: bool = Field(False, description="Ask the task's verifier again instead of keeping the stored verdicts.")

    @model_validator(mode="after")
    def _effective(self) -> StoredConfig:
        if self.rejudge and self.rollouts is None:
            raise ValueError("rejudge has no effect without stored.rollouts")
        return self
