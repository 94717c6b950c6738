"""What every section of the settings is made of. Not for: any one section."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0.0)]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Text = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """A section: frozen, unknown keys and endless numbers refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
