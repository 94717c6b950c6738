"""What a run is made of before anything is trained: policy, task, recipe, and what the recipe asks for. Refuses what cannot work.

Not for: running it (rl.py), or looking at it first (check.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from burnish.algos import losses, recipes
from burnish.algos.reward import Part
from burnish.config import CriticConfig, RunConfig, load
from burnish.engine.choice import engine_of
from burnish.errors import ConfigError, DataError, ModelError
from burnish.learner.critic import REWARD_PART, Critic, annotated, shared_head
from burnish.learner.learner import Following
from burnish.pipelines.rows import encoder
from burnish.policy import adapters
from burnish.policy.heads import Scorer, load_scorer, scorer_from
from burnish.policy.model import Policy, tune_allocator
from burnish.prompts import Renderer, check_room
from burnish.records import Group, Problem, Prompt, Sampling
from burnish.rollout import Sampler
from burnish.run.stored import Stored, StoredSampler
from burnish.run.stream import Source
from burnish.tasks import Task
from burnish.tasks import load as load_task
from burnish.tasks.curriculum import Choosing, Curriculum
from burnish.tasks.splits import check_golds
from burnish.verify import judge, readiness
from burnish.verify import load as load_verifier
from burnish.verify.pool import Pool


@dataclass(frozen=True)
class Setting:
    """What a run and its checks are made of, before anything is trained."""

    config: RunConfig
    policy: Policy
    task: Task
    renderer: Renderer
    recipe: recipes.Recipe
    sampling: Sampling
    notices: tuple[str, ...] = ()
    """What a run says once at its start: what reading the problems left out, and what keeps programs in."""

    def prompt(self, problem: Problem) -> Prompt:
        return self.renderer.prompt(problem, self.task.messages(problem))


def prepare(config: RunConfig, look_at: int = 64, refuse_golds: bool = True) -> Setting:
    """Load everything and refuse what cannot work: InputError, with one sentence.

    look_at       problems of each split whose gold answers are checked
    refuse_golds  False leaves them to the caller, who wants to list all that fail
    """
    _check_device(config.model.device)
    tune_allocator()
    recipe = _recipe(config)
    task = load_task(config.task.name, config.task.options)
    held_out = task.held_out()
    if config.evaluate.problems and not held_out:
        raise DataError(
            "There are no held-out problems to measure on; give the task a held-out split, or set evaluate.problems = 0."
        )
    training = task.train(config.seed).take(task.train_size or look_at)
    some = [*training[:look_at], *held_out[:look_at]]
    notices = (*task.notices, *readiness(task.verifier, (problem.reference for problem in some)), *_gap(config, recipe))
    failures = check_golds(task, some) if refuse_golds else []
    if failures:
        first = failures[0]
        raise DataError(
            f"{len(failures)} of {len(some)} gold answers do not pass their own verifier, first {first.problem_id} ({first.where}): "
            f"{first.verdict.why}; correct or drop them (burnish check lists them all)."
        )
    leaks = {problem.fingerprint for problem in training} & {problem.fingerprint for problem in held_out}
    if leaks:
        raise DataError(
            f"{len(leaks)} held-out problems stand in the training split too; a score on them would mean nothing. Remove them."
        )
    policy = adapters.start(config.model.path, config.model.compute, config.model.device)
    asked = config.task
    renderer = Renderer(policy.tokenizer, asked.system, asked.template_options, asked.thinking)
    stops = renderer.stop_ids(policy.stop_ids)
    sampling = Sampling(config.sampling.temperature, 1.0, 0, config.sampling.max_new, stops, config.seed)
    setting = Setting(config, policy, task, renderer, recipe, sampling, notices)
    _check_parts(setting, some)
    check_room(
        map(setting.prompt, [*training, *held_out[: config.evaluate.problems]]), sampling.max_new, policy.context
    )
    _check_format(setting, some)
    return setting


def _gap(config: RunConfig, recipe: recipes.Recipe) -> list[str]:
    """What is to be said of a sampler that rounds more than the learner does."""
    if config.sampling.weights == "auto" or recipe.objective.correction is not None:
        return []
    return [
        f'sampling.weights = "{config.sampling.weights}" samples from rounded weights, and this recipe does not weigh the difference: '
        'recipe.options.correction = "tis" with correction_high = 2 does. gap/abs_mean shows how large it is.'
    ]


def _check_parts(setting: Setting, problems: Sequence[Problem]) -> None:
    """Refuse a reward that no verdict will ever hold: here, and not after the base model has been measured."""
    named = [term.name for term in setting.recipe.reward.terms if isinstance(term, Part)]
    if REWARD_PART in named and setting.config.reward_model.path is None:
        raise ConfigError(
            f"recipe.options.reward_parts weighs {REWARD_PART!r}, but the run has no reward model: set reward_model.path to one that "
            "burnish rm made, or leave the part out."
        )
    named = [name for name in named if name != REWARD_PART]
    golds = ((problem, gold) for problem in problems if (gold := setting.task.gold(problem)) is not None)
    first = next(golds, None) if named else None
    if first is None:
        return
    verdict = judge(load_verifier(setting.task.verifier), *first)
    lacking = [name for name in named if name not in verdict.parts]
    if lacking and verdict.outcome == "right":
        there = ", ".join(sorted(verdict.parts)) or "none"
        raise ConfigError(
            f"reward_parts names {lacking[0]!r}, but the verifier gives no such part (it gives: {there})."
        )


def _check_format(setting: Setting, problems: Sequence[Problem]) -> None:
    golds = [(gold, problem.id) for problem in problems if (gold := setting.task.gold(problem)) is not None]
    sizes = [(len(setting.renderer.response_ids(gold)), problem_id) for gold, problem_id in golds]
    shortest, problem_id = min(sizes, default=(0, ""))
    if setting.sampling.max_new < shortest:
        raise ConfigError(
            f"sampling.max_new is {setting.sampling.max_new}, but even the shortest right response ({problem_id}) has {shortest} tokens "
            "in the format asked for; every answer would be cut off. Raise max_new."
        )


def _recipe(config: RunConfig) -> recipes.Recipe:
    """The named recipe with its overrides; Dr. GRPO's constant is the longest completion where none is given, as in its paper."""
    options = dict(config.recipe.options)
    named = recipes.RECIPES.get(config.recipe.name)
    reduction = options.get("reduction", named.reduction if named is not None else None)
    if named is not None and reduction == "constant" and named.constant is None:
        options.setdefault("constant", float(config.sampling.max_new))
    if "overlong_buffer" in options:
        options.setdefault("overlong_limit", config.sampling.max_new)
    recipe = recipes.recipe(config.recipe.name, **options)
    kl = recipe.objective.kl
    if kl is not None and kl.to == "start_of_step" and config.steps.updates == 1:
        raise ConfigError(
            'recipe.options.kl_to = "start_of_step" has no effect with steps.updates = 1: the policy is still the one the step started '
            "with. Raise steps.updates, or leave the KL out."
        )
    if config.steps.samples == 1 and recipe.credit.compares and config.stored.rollouts is None:
        raise ConfigError(
            f"steps.samples is 1, and the recipe {config.recipe.name!r} compares rollouts of a problem: alone, each has advantage 0, and "
            "nothing is ever learned. Raise steps.samples, or take ppo, reinforce or reinforce_pp."
        )
    return recipe


def critic_of(setting: Setting, needs: frozenset[str]) -> Critic | None:
    """The critic of a recipe that needs values. Raises ConfigError where the config asks for one and the recipe has none."""
    config, policy = setting.config, setting.policy
    if "values" not in needs:
        if config.critic != CriticConfig():  # a config read back holds the section with its defaults
            raise ConfigError(
                f"The section critic has no effect: the recipe {config.recipe.name!r} with credit {setting.recipe.credit.kind!r} has no "
                "critic; take ppo's credit, gae, or leave the section out."
            )
        return None
    network: Scorer | torch.nn.Linear
    if config.critic.trunk == "shared":
        network = shared_head(policy)
    elif config.critic.path is None:
        network = scorer_from(policy, config.seed, zero=True)
    else:
        network = load_scorer(config.critic.path, config.model.compute, config.model.device)
        if network.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
            raise ModelError(
                f"critic.path {config.critic.path} has another tokenizer than {config.model.path}; a critic reads the policy's tokens."
            )
    settings = setting.recipe.critic
    assert settings is not None, "a recipe that needs values says how its critic learns"
    return Critic(network, partial(losses.critic_loss, settings), config.critic.lr)


def adapted(setting: Setting) -> Setting:
    """The setting with adapters on its policy, where the config asks for them; ask for the critic first, which copies the bare one.

    The layers of the module itself are changed: the learner trains the adapters, the engine serves through them, and the reference
    is the base below them.

    Raises ConfigError where peft is missing, nothing fits `lora.targets`, or the reference would have to move.
    """
    lora = setting.config.lora
    if lora.rank == 0:
        return setting
    if following_of(setting.recipe) is not None:
        raise ConfigError(
            'recipe.options.kl_to = "moving" needs a copy of the reference that can move, but with adapters (lora.rank) the reference '
            'is the base below them; use kl_to = "reference", or train all weights.'
        )
    policy = adapters.adapted(setting.policy, lora.rank, lora.alpha, lora.dropout, lora.targets, setting.config.seed)
    return replace(setting, policy=policy)


def annotation_of(setting: Setting) -> Callable[[list[Group]], list[Group]] | None:
    """Adds the score of the config's reward model to judged groups; None where there is none."""
    config = setting.config
    if config.reward_model.path is None:
        return None
    model = load_scorer(config.reward_model.path, config.model.compute, config.model.device)
    encode = encoder(Renderer(model.tokenizer, config.task.system))
    return lambda groups: annotated(model, groups, encode, config.optimizer.micro_batch_tokens)


@contextmanager
def sampling_with(setting: Setting) -> Iterator[Sampler]:
    """An engine and a verifier pool for the setting."""
    config = setting.config
    engine = engine_of(setting.policy, config.sampling)
    with Pool(setting.task.verifier, config.verify.workers, config.verify.deadline_s) as pool:
        yield Sampler(engine, setting.renderer, pool, setting.task.messages, setting.sampling)


def following_of(recipe: recipes.Recipe) -> Following | None:
    """How the reference moves, where the recipe's KL is to one that does."""
    kl = recipe.objective.kl
    return Following(kl.every, kl.mix) if kl is not None and kl.every is not None and kl.mix is not None else None


def source_of(setting: Setting, sampler: Sampler) -> tuple[Source, Sampler]:
    """Where a step's problems and their rollouts come from: the task and the engine, or a run that was made before."""
    config, chosen = setting.config, setting.config.selection
    if config.stored.rollouts is not None:
        return _stored(config, sampler)
    source: Source = setting.task.train(config.seed)
    if chosen.curriculum:
        window = (chosen.lowest_pass_rate, chosen.highest_pass_rate)
        choosing = Choosing(*window, chosen.explore, chosen.replay_share, chosen.replay_below)
        level = getattr(setting.task, "level", lambda problem: problem.id)
        source = Curriculum(setting.task.train(config.seed), config.seed, choosing, level)
    return source, sampler


def _stored(config: RunConfig, sampler: Sampler) -> tuple[Source, Sampler]:
    place = Path(config.stored.rollouts or "")
    source = Stored(place)
    wanted = config.steps.total * config.steps.prompts
    if wanted > source.size:
        raise ConfigError(
            f"{place} holds {source.size} groups, and this run asks for {wanted} (steps.total x steps.prompts); lower one of them."
        )
    if (place / "config.toml").is_file():
        there = load(RunConfig, place / "config.toml").sampling.temperature
        if there != config.sampling.temperature:
            raise ConfigError(
                f"The rollouts of {place} were sampled at temperature {there}, and sampling.temperature is "
                f"{config.sampling.temperature}: their log-probabilities would not compare. Set it to {there}."
            )
    parts = {name: getattr(sampler, name) for name in ("engine", "renderer", "pool", "messages", "sampling")}
    return source, StoredSampler(**parts, stored=source, rejudge=config.stored.rejudge)


def _check_device(device: str) -> None:
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f'model.device is {device!r}, but torch sees {torch.cuda.device_count()} GPUs here; use "cpu".'
        )
