"""The critic: values at the places that predict, learned beside the policy, in a checkpoint, on its own trunk or a shared one."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from burnish.algos import recipes
from burnish.config import RunConfig, validate
from burnish.errors import ConfigError
from burnish.journal import Journal
from burnish.learner.critic import Critic, reward_row, scores, shared_head
from burnish.learner.learner import Learner, Optimization
from burnish.metrics import Mean
from burnish.pipelines import rl
from burnish.pipelines.check import check
from burnish.policy.fused import Fused
from burnish.policy.heads import load_scorer, scorer_from
from burnish.records import Group, Key, Notes, Problem, Rollout, Sample, Tokens, Verdict
from test_policy_fused import distance, needs_kernels, wide


def squared(value_N: Any, old_N: Any, return_N: Any, weight_N: Any) -> Any:
    loss = (weight_N * (value_N - return_N).square()).sum()
    return loss, {"critic/error": Mean(float((value_N.detach() - return_N).abs().sum()), float(value_N.numel()))}


def critic_of(kind: str, policy: Any, lr: float = 1e-2) -> Critic:
    network = shared_head(policy) if kind == "shared" else scorer_from(policy, 1, zero=True)
    return Critic(network, squared, lr)


def learner(kind: str, lr: float = 1e-3) -> Learner:
    policy = tiny.policy("qwen3")
    return Learner(policy, Optimization(lr=lr, total_updates=9, micro_batch_tokens=64), critic=critic_of(kind, policy))


def row(i: int, length: int = 6) -> Tokens:
    """A prompt of two, then sampled tokens with one in their midst that the policy did not write."""
    ids = tuple(10 + (7 * i + t) % 200 for t in range(2 + length))
    sampled = tuple(t >= 2 and t != 4 for t in range(2 + length))
    return Tokens(ids, sampled, (0.0,) * len(ids))


def group(i: int) -> Group:
    verdict = Verdict("right", 1.0)
    prompt = tiny.prompt(f"p{i}", row(i).ids[:2])
    return Group(Problem(f"p{i}", "t", "q", {}, "train", "f"), prompt, (Rollout(0, row(i), "", "eos", verdict, 0, 0),))


def samples(one: Learner, returns: float = 1.0) -> list[Sample]:
    notes = one.score([group(i) for i in range(6)], frozenset({"values"}))
    return [
        Sample(Key(f"p{i}", 0), row(i), (0.0,) * 8, 0.0, 0, 0, notes[Key(f"p{i}", 0)], (returns,) * 8) for i in range(6)
    ]


def nothing(fields: Any) -> Any:
    return (fields.logp_N * 0.0).sum(), {}


def weigh(part: Any) -> dict[Key, float]:
    total = sum(sample.tokens.sampled_count for sample in part)
    return {sample.origin: 1.0 / total for sample in part}


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_values_start_at_zero_and_learn_the_return(kind: str) -> None:
    one = learner(kind)
    rows = samples(one)
    assert all(value == 0.0 for sample in rows for value in sample.notes.values or ())
    errors = [one.update(rows, nothing, weigh)["critic/error"].value for _ in range(30)]
    assert errors[0] == 1.0 and errors[-1] < 0.5
    for sample in samples(one):
        assert sample.notes.values is not None
        assert [value == 0.0 for value in sample.notes.values] == [not own for own in sample.tokens.sampled]


def test_a_value_is_that_of_the_place_that_predicts_the_token() -> None:
    """Values [L] of a scorer are what its head says one place earlier."""
    policy = tiny.policy("qwen3")
    model = scorer_from(policy, 3)
    one = Learner(policy, Optimization(lr=1e-3, total_updates=1), critic=Critic(model, squared))
    values = one.score([group(0)], frozenset({"values"}))[Key("p0", 0)].values
    with torch.no_grad():
        every = model.module.score(model.hidden(torch.tensor([row(0).ids])).float())[0, :, 0]
    assert values is not None
    for t, own in enumerate(row(0).sampled):
        assert values[t] == (pytest.approx(every[t - 1].item(), abs=1e-5) if own else 0.0)


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_the_critics_gradient_is_the_same_in_any_micro_batches(kind: str) -> None:
    found = []
    for budget in (1, 10_000):
        one = learner(kind)
        one.optimization = replace(one.optimization, micro_batch_tokens=budget, clip_norm=1e9)
        with torch.no_grad():
            for parameter in one.critic.module.parameters():  # type: ignore[union-attr]
                parameter += 0.01
        kept: list[torch.Tensor] = []

        def keep(*_: Any, one: Learner = one, kept: list[torch.Tensor] = kept) -> None:
            assert one.critic is not None
            kept.extend(p.grad.clone() for p in one.critic.module.parameters() if p.grad is not None)

        one.optimizer.register_step_pre_hook(keep)
        one.update(samples(one), nothing, weigh)
        found.append(torch.cat([each.flatten() for each in kept]))
    assert float((found[0] - found[1]).norm()) <= 1e-4 * float(found[1].norm()) and float(found[1].norm()) > 0


@needs_kernels
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_the_critics_gradient_through_the_kernels_is_the_modules(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy and critic together. Exact is the module in float32; the bound is its own error in bfloat16, and half as much again."""

    def found(compute: torch.dtype, serve: bool) -> dict[str, torch.Tensor]:
        policy = wide("qwen3", compute)
        network = scorer_from(policy, zero=True) if kind == "own" else shared_head(policy)
        settings = Optimization(lr=1e-3, total_updates=1, clip_norm=1e9, micro_batch_tokens=20)
        one, kept = Learner(policy, settings, critic=Critic(network, squared)), dict[str, torch.Tensor]()
        assert one.critic is not None
        generator = torch.Generator().manual_seed(1)
        head = network.module.score if kind == "own" else network  # type: ignore[union-attr]
        with torch.no_grad():
            head.weight.normal_(generator=generator)  # type: ignore[operator, union-attr]
        with monkeypatch.context() as patch:
            if not serve:
                patch.setattr(Fused, "serves", staticmethod(lambda policy: False))
            assert (one._fused()[0] is not None) == serve
            trained = {"policy": policy.module, "critic": one.critic.module}

            def keep(*_: Any) -> None:
                named = [(f"{n}.{k}", p) for n, m in trained.items() for k, p in m.named_parameters()]
                kept.update({name: p.grad.clone() for name, p in named if p.grad is not None})

            one.optimizer.register_step_pre_hook(keep)
            one.update(samples(one), lambda fields: ((fields.weight_N * fields.logp_N).sum(), {}), weigh)
        return kept

    fused, module, exact = found(torch.bfloat16, True), found(torch.bfloat16, False), found(torch.float32, False)
    ours, theirs = distance(fused, exact), distance(module, exact)
    assert not {name: (ours[name], theirs[name]) for name in ours if ours[name] > 1.5 * theirs[name] + 4e-3}


@needs_kernels
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_values_through_the_kernels_are_the_modules(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = wide("qwen3")
    network = scorer_from(policy, 3) if kind == "own" else shared_head(policy)
    if kind == "shared":
        with torch.no_grad():
            network.weight.fill_(0.1)  # type: ignore[union-attr, operator]
    one = Learner(policy, Optimization(lr=1e-3, total_updates=1), critic=Critic(network, squared))
    found = one.score([group(i) for i in range(6)], frozenset({"values"}))
    monkeypatch.setattr(Fused, "serves", staticmethod(lambda policy: False))
    module = one.score([group(i) for i in range(6)], frozenset({"values"}))
    for key, notes in found.items():
        assert notes.values == pytest.approx(module[key].values, abs=0.03)


def test_a_trunk_of_its_own_leaves_the_policy_alone() -> None:
    one = learner("own")
    before = {name: tensor.clone() for name, tensor in one.policy.module.state_dict().items()}
    one.update(samples(one), nothing, weigh)
    assert all(torch.equal(before[name], tensor) for name, tensor in one.policy.module.state_dict().items())


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_a_checkpoint_holds_the_critic(kind: str) -> None:
    one, other = learner(kind), learner(kind)
    one.update(samples(one), nothing, weigh)
    other.restore(copy.deepcopy(one.state()))
    for each in (one, other):
        each.update(samples(each), nothing, weigh)
    assert one.critic is not None and other.critic is not None
    mine, theirs = one.critic.module.state_dict(), other.critic.module.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_values_without_a_critic_are_refused() -> None:
    plain = Learner(tiny.policy("qwen3"), Optimization(lr=1e-3, total_updates=1))
    with pytest.raises(ConfigError, match="no critic"):
        plain.score([group(0)], frozenset({"values"}))


def test_samples_without_returns_teach_a_critic_nothing() -> None:
    one = learner("shared")
    bare = [replace(sample, returns=None, notes=Notes()) for sample in samples(one)]
    with pytest.raises(ConfigError, match="nothing to learn from"):
        one.update(bare, nothing, weigh)


def test_a_reference_that_was_not_kept_is_refused() -> None:
    plain = Learner(tiny.policy("qwen3"), Optimization(lr=1e-3, total_updates=1))
    with pytest.raises(ConfigError, match=r"[Rr]eference"):
        plain.score([group(0)], frozenset({"reference"}))


def test_a_scorer_goes_to_the_disk_and_comes_back(tmp_path: Path) -> None:
    model = scorer_from(tiny.policy("qwen3"), 4)
    model.save(tmp_path / "reward")
    rows = [reward_row((10, 11), (12, 13))]
    assert scores(load_scorer(str(tmp_path / "reward"), "float32"), rows) == scores(model, rows)


# ---- the whole of PPO, where there is a recipe of that name

with_ppo = pytest.mark.skipif("ppo" not in recipes.RECIPES, reason="there is no recipe ppo here")


def run_settings(base: Path, out: Path, **changes: Any) -> RunConfig:
    from terminal import run_settings as settings

    return validate(RunConfig, {**settings(base), "out": str(out), "recipe": {"name": "ppo"}, **changes})


@with_ppo
@pytest.mark.parametrize("trunk", ["own", "shared"])
def test_ppo_trains_through_the_same_loop_and_resumes(tiny_base: Path, tmp_path: Path, trunk: str) -> None:
    config = run_settings(tiny_base, tmp_path / "run", critic={"trunk": trunk, "lr": 1e-3})
    report = rl.train(config, quiet=True)
    assert report["final"]["problems"] == 8
    again = rl.train(config, resume=True, quiet=True)
    assert again["final"] == {**report["final"], "cost": again["final"]["cost"]}
    assert (tmp_path / "run" / "critic" / "config.json").is_file() == (trunk == "own")


@with_ppo
@pytest.mark.parametrize("trunk", ["own", "shared"])
def test_an_interrupted_ppo_goes_on_bit_for_bit(
    tiny_base: Path, tmp_path: Path, trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the update of the third step, whose checkpoint is that of the second: the critic goes back with the policy."""
    from test_resume import Interruption, assert_the_same

    torch.set_num_threads(1)
    steps = {"total": 4, "prompts": 4, "samples": 4, "checkpoint_every": 2}
    changes: dict[str, Any] = {"critic": {"trunk": trunk, "lr": 1e-3}, "steps": steps}
    whole, stopped = (run_settings(tiny_base, tmp_path / name, **changes) for name in ("whole", "stopped"))
    rl.train(whole, quiet=True)
    real = Learner._step

    def stopping(self: Learner, *arguments: Any) -> Any:
        result = real(self, *arguments)
        if self.version == 3:
            raise Interruption
        return result

    with monkeypatch.context() as patch, pytest.raises(Interruption):
        patch.setattr(Learner, "_step", stopping)
        rl.train(stopped, quiet=True)
    torch.manual_seed(99)  # another process would have other generators
    rl.train(stopped, resume=True, quiet=True)
    assert_the_same(tmp_path / "stopped", tmp_path / "whole")
    states = [
        torch.load(tmp_path / name / "checkpoints" / "step_000004" / "learner.pt", weights_only=True)["critic"]
        for name in ("whole", "stopped")
    ]
    assert any(bool(tensor.any()) for tensor in states[0].values())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@with_ppo
def test_ppo_learns_from_a_reward_model_and_check_counts_four_models(tiny_base: Path, tmp_path: Path) -> None:
    from burnish.policy.model import load

    scorer_from(load(str(tiny_base)), 2).save(tmp_path / "reward")
    recipe = {"name": "ppo", "options": {"reward_parts": {"reward_model": 1.0}}}
    config = run_settings(tiny_base, tmp_path / "run", reward_model={"path": str(tmp_path / "reward")}, recipe=recipe)
    memory = check(config, prompts=4)["memory_gib"]
    assert all(memory[name] >= 0.0 for name in ("weights", "reference", "critic", "reward_model"))
    assert memory["total"] == pytest.approx(sum(size for name, size in memory.items() if name != "total"), abs=5e-3)
    assert rl.train(config, quiet=True)["final"]["problems"] == 8


def test_a_critic_asked_of_a_recipe_without_one(tiny_base: Path, tmp_path: Path) -> None:
    config = run_settings(tiny_base, tmp_path / "run", recipe={"name": "grpo"}, critic={"lr": 1e-3})
    with pytest.raises(ConfigError, match="'grpo' with credit 'group_mean_std' has no critic"):
        rl.train(config, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_reward_part_that_nothing_gives(tiny_base: Path, tmp_path: Path) -> None:
    """Refused before the base model is measured: nothing is written."""
    for part, why in (("reward_model", "no reward model"), ("style", r"no such part \(it gives: format, thought\)")):
        recipe = {"name": "grpo", "options": {"reward_parts": {part: 1.0}}}
        with pytest.raises(ConfigError, match=why):
            rl.train(run_settings(tiny_base, tmp_path / "run", recipe=recipe), quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_page_about_ppo_shows_a_run_that_works(tiny_base: Path, tmp_path: Path) -> None:
    """Its TOML as it stands, with the two folders and the sizes of a test: the recipe is ppo, and the reward model's score counts."""
    from burnish.policy.model import load

    page = (Path(__file__).resolve().parents[1] / "docs" / "ppo.md").read_text()
    shown = tomllib.loads(page.split("```toml\n")[1].split("```")[0])
    assert shown["recipe"]["name"] == "ppo"
    scorer_from(load(str(tiny_base)), 2).save(tmp_path / "reward")
    places = {"model": {"path": str(tiny_base)}, "reward_model": {"path": str(tmp_path / "reward")}}
    config = run_settings(tiny_base, tmp_path / "run", recipe=shown["recipe"], critic=shown["critic"], **places)
    rl.train(config, quiet=True)
    first = next(iter(Journal.open(tmp_path / "run").rollouts()))
    assert 0.0 < first["parts"]["reward_model"] < 1.0


def test_a_group_of_one_is_refused_where_rollouts_are_compared(tiny_base: Path, tmp_path: Path) -> None:
    steps = {"total": 1, "prompts": 4, "samples": 1}
    with pytest.raises(ConfigError, match=r"steps.samples is 1, and the recipe 'grpo' compares"):
        rl.train(run_settings(tiny_base, tmp_path / "run", recipe={"name": "grpo"}, steps=steps), quiet=True)
    assert not (tmp_path / "run").exists()
