"""Settings: what is refused and how, overrides, round trips, and the reference page."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from burnish.config import KINDS, PretrainConfig, RunConfig, differences, dumps, load, reference, validate
from burnish.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
LEAST: dict[str, Any] = {"model": {"path": "m"}, "task": {"name": "chain"}}


def settings(**sections: Any) -> RunConfig:
    return validate(RunConfig, {**LEAST, **sections})


def refused(*overrides: str, **sections: Any) -> str:
    """The sentence with which the settings are refused."""
    with pytest.raises(ConfigError) as caught:
        if sections:
            settings(**sections)
        load(RunConfig, None, ["model.path=m", "task.name=chain", *overrides])
    return str(caught.value)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('[model]\npath = "m"\n[task]\nname = "chain"\n[optimizer]\nlr = 1e-4\n')
    return path


def test_a_file_and_its_defaults(run_file: Path) -> None:
    config = load(RunConfig, run_file)
    assert (config.optimizer.lr, config.optimizer.beta1, config.steps.total, config.evaluate.ks) == (
        1e-4,
        0.9,
        100,
        (1,),
    )


@pytest.mark.parametrize(
    ("override", "unknown", "nearest"),
    [
        ("optimiser.lr=1", "'optimiser'", "'optimizer'"),
        ("optimizer.learning=1", "'optimizer.learning'", "'optimizer."),
        ("steps.totl=3", "'steps.totl'", "'steps.total'"),
        ("sampling.max_tokens=3", "'sampling.max_tokens'", "'sampling.max_new'"),
        ("sead=3", "'sead'", "'seed'"),
    ],
)
def test_an_unknown_key_names_the_nearest(override: str, unknown: str, nearest: str) -> None:
    sentence = refused(override)
    assert f"unknown key {unknown}" in sentence and f"did you mean {nearest}" in sentence


def test_an_unknown_key_near_to_none_lists_what_there_is() -> None:
    assert "it takes total, prompts, samples, updates, max_lag, checkpoint_every, max_flat" in refused("steps.qqqq=1")


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("steps.total=many", "steps.total is 'many': input should be a valid integer"),
        ('steps.total="3"', "steps.total is '3': input should be a valid integer"),
        ("steps.total=3.0", "steps.total is 3.0: input should be a valid integer"),
        ("seed=true", "seed is True: input should be a valid integer"),
        ("optimizer.lr=fast", "optimizer.lr is 'fast': input should be a valid number"),
        ("optimizer.lr=inf", "optimizer.lr is inf: input should be a finite number"),
        ("model.path=3", "model.path is 3: input should be a valid string"),
        ("model.path=", "model.path is '': string should have at least 1 character"),
        ("model.compute=float16", "model.compute is 'float16': input should be 'auto', 'bfloat16' or 'float32'"),
        ("task.options=3", "task.options is 3: input should be an object"),
        ("evaluate.ks=[1, 0]", "evaluate.ks.1 is 0: input should be greater than or equal to 1"),
        ("evaluate.ks=[]", "evaluate.ks is []: tuple should have at least 1 item"),
        ("seed=1979-05-27", "seed is '1979-05-27': input should be a valid integer"),
    ],
)
def test_a_wrong_type_is_named_with_its_value(override: str, reason: str) -> None:
    assert reason in refused(override)


@pytest.mark.parametrize(
    ("override", "bound"),
    [
        ("steps.total=0", "greater than or equal to 1"),
        ("seed=-1", "greater than or equal to 0"),
        ("sampling.temperature=0", "greater than 0"),
        ("verify.max_no_verdict=1.5", "less than or equal to 1"),
        ("model.device=gpu", "should match pattern"),
    ],
)
def test_a_value_out_of_range_is_refused(override: str, bound: str) -> None:
    assert bound in refused(override)


def test_a_whole_number_is_a_number() -> None:
    assert settings(optimizer={"lr": 1}).optimizer.lr == 1.0


def test_a_missing_key_is_named_and_where_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"lacks the key 'task.name'; .* as task.name=\.\.\."):
        load(RunConfig, None, ["model.path=m"])


def test_a_missing_section_is_named_by_its_first_required_key() -> None:
    with pytest.raises(ConfigError, match=r"the command line lacks the key 'model.path'"):
        load(RunConfig, None, ["task.name=chain"])


def test_bad_toml_is_one_sentence_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[model\npath = 1\n")
    with pytest.raises(ConfigError, match=r"run.toml is not valid TOML: .*line 1"):
        load(RunConfig, path)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist; check the path"):
        load(RunConfig, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(RunConfig, tmp_path)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(RunConfig, tmp_path / "b.toml")


def test_the_file_at_fault_is_named(run_file: Path) -> None:
    run_file.write_text(run_file.read_text() + "[steps]\ntotal = -1\n")
    with pytest.raises(ConfigError, match=r"run.toml: steps.total is -1"):
        load(RunConfig, run_file)


def test_overrides_win_and_are_read_as_toml(run_file: Path) -> None:
    given = [
        "optimizer.lr=2e-4",
        "steps.total=7",
        "evaluate.ks=[1, 2]",
        "task.options.held_out=a b.jsonl",
        "task.options.n=3",
    ]
    config = load(RunConfig, run_file, given)
    assert (config.optimizer.lr, config.steps.total, config.evaluate.ks) == (2e-4, 7, (1, 2))
    assert config.task.options == {"held_out": "a b.jsonl", "n": 3}


@pytest.mark.parametrize("override", ["steps.total", "=3"])
def test_an_override_must_be_key_and_value(override: str) -> None:
    assert "is not of the form key.sub=value" in refused(override)


def test_an_override_cannot_go_into_a_value() -> None:
    assert "which is a value and no section" in refused("seed=1", "seed.sub=2")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"optimizer": {"final_lr_share": 0.1}}, "final_lr_share has no effect with schedule"),
        ({"evaluate": {"ks": [8]}}, "k = 8 needs at least as many samples, but samples = 4"),
    ],
)
def test_a_key_with_no_effect_or_no_sense_is_refused(sections: dict[str, Any], said: str) -> None:
    assert said in refused(**sections)


def test_heads_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_attention_heads = 4 cannot be shared evenly by num_key_value_heads = 3"):
        validate(PretrainConfig, {"scratch": {"num_key_value_heads": 3}})


def test_pretraining_keeps_its_rate_where_another_key_is_given() -> None:
    assert validate(PretrainConfig, {"optimizer": {"warmup_updates": 5}}).optimizer.lr == 2e-3


@pytest.mark.parametrize(
    "config",
    [
        settings(),
        settings(seed=7, task={"name": "rows", "options": {"keep": ["a"], "limit_train": 3}, "system": "Be brief."}),
        settings(optimizer={"schedule": "cosine", "final_lr_share": 0.1}, evaluate={"ks": [1, 4], "samples": 8}),
        validate(PretrainConfig, {"corpus": {"documents": {"think_share": 0.3}}}),
    ],
)
def test_dumps_and_load_give_the_same_settings_back(config: RunConfig | PretrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(dumps(config))
    again = load(type(config), path)
    assert again == config and differences(again, config) == []


def test_differences_name_the_key_and_both_values() -> None:
    assert differences(settings(seed=1), settings(seed=2, optimizer={"lr": 0.5})) == [
        "optimizer.lr: 1e-06 there, 0.5 here",
        "seed: 1 there, 2 here",
    ]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().steps.total = 3  # type: ignore[misc]


def test_the_reference_page_is_in_step_with_the_code() -> None:
    page = ROOT / "docs" / "configuration.md"
    renew = "python -c 'from burnish.config import reference; print(reference(), end=\"\")' > docs/configuration.md"
    assert page.read_text() == reference(), f"renew it: {renew}"


def rows_of_the_reference() -> list[list[str]]:
    return [
        line.replace(r"\|", "/").strip("| ").split(" | ") for line in reference().splitlines() if line.startswith("| `")
    ]


def test_every_key_of_the_reference_is_explained_in_words() -> None:
    for key, kind, default, meaning in rows_of_the_reference():
        assert meaning not in ("", "None") and kind and default, key
        assert not re.search(r"Annotated|typing|\bint\b|<class", kind)


def test_defaults_of_the_reference_are_toml() -> None:
    shown = {key.strip("`"): default.strip("`") for key, _, default, _ in rows_of_the_reference()}
    defaults = [default for default in shown.values() if default not in ("required", "not set")]
    for default in defaults:
        tomllib.loads(f"x = {default}")
    assert shown["evaluate.ks"] == "[1]" and shown["model.path"] == "required" and shown["task.system"] == "not set"


def test_types_of_the_reference_read_as_words() -> None:
    kinds = {key.strip("`"): kind for key, kind, _, _ in rows_of_the_reference()}
    assert kinds["steps.total"] == "integer >= 1"
    assert kinds["sampling.temperature"] == "number > 0"
    assert kinds["verify.max_no_verdict"] == "number from 0 to 1"
    assert kinds["model.compute"] == "auto / bfloat16 / float32"
    assert kinds["evaluate.ks"] == "list of integers >= 1"
    assert kinds["task.options"] == "table"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    text = path.read_text()
    named = re.search(rf"burnish (\w+) examples/{path.name}", text)
    by_verb = {title.removeprefix("burnish "): kind for kind, title in KINDS}
    kind = (by_verb.get(named[1]) if named else None) or (
        RunConfig if "model" in tomllib.loads(text) else PretrainConfig
    )
    assert isinstance(load(kind, path), kind)
