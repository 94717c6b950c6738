"""Tokens guessed ahead: what is guessed, when, and that no guess changes what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from burnish.config import SamplingConfig
from burnish.engine import choice, drafts
from burnish.engine.choice import engine_of
from burnish.engine.drafts import MARGIN, MOST, PASS, History, Share, agreed, best_count
from burnish.engine.embedded import EmbeddedEngine, Options
from burnish.engine.scheduler import most_pages
from burnish.errors import ConfigError, EngineError
from burnish.policy import kernels
from burnish.policy.fused import FAMILIES
from burnish.policy.model import Policy
from burnish.policy.tokenizer import train_tokenizer
from burnish.records import Completion, Key, Request, Sampling
from test_engine_sampling import exact, p_value
from tiny import by_key, eager, policy, prompt, prompts, requests

LONG = Sampling(max_new=40, stop_ids=tuple(range(5, 272, 64)), seed=6)
ECHO = (7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8)


@pytest.fixture
def eager_to_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses wherever the last token came before, whether it pays or not."""
    monkeypatch.setattr(drafts, "GRAMS", (1,))
    monkeypatch.setattr(drafts, "REST", 0)
    monkeypatch.setattr(drafts, "best_count", lambda share_B, room_B, guessing=0.0: MOST if (room_B > 0).any() else 0)


def echoing() -> list[Request]:
    """Long prompts, so that most tokens came before, and short ones."""
    given = [*prompts((70, 27)), prompt("p2", ECHO), prompt("p3", (9,))]
    return requests(given, 5, LONG)


# ---- what is guessed


def test_a_gram_that_came_before_is_followed_by_what_followed_it() -> None:
    """1 2 3 was followed by 4 5; two tokens of it are enough."""
    history = History()
    history.extend([1, 2, 3, 4, 5, 1, 2, 3])
    assert history.guess(2) == ([4, 5], 0)
    history.extend([9, 2, 3])
    assert history.guess(2) == ([9, 2], 1)


def test_a_row_that_repeats_itself_goes_on_doing_so() -> None:
    history = History()
    history.extend([1, 2, 1, 2, 1])
    assert history.guess(5) == ([2, 1, 2, 1, 2], 0)


def test_the_latest_place_counts_and_nothing_new_is_guessed() -> None:
    history = History()
    history.extend([1, 2, 7, 1, 2, 8, 1, 2])
    assert history.guess(1)[0] == [8]
    history.extend([50])
    assert history.guess(3) == ([], 0)


def test_guesses_after_the_first_wrong_one_were_not_tested() -> None:
    assert agreed([4, 5, 6], [4, 5, 6, 7]) == (3, 3)
    assert agreed([4, 5, 6], [4, 9]) == (1, 2)
    assert agreed([4, 5, 6], [8]) == (0, 1)
    assert agreed([], [8]) == (0, 0)


# ---- whether


def test_one_row_with_sure_guesses_takes_all() -> None:
    assert best_count(np.ones(1), np.array([5])) == 5
    assert best_count(np.ones(1), np.array([100])) == MOST


def test_what_a_guess_must_bring_grows_with_the_rows() -> None:
    """A pass over B places costs PASS + B, so one guess a row pays where 1 + a is above MARGIN (PASS + 2 B) / (PASS + B)."""
    for rows in (1, 8, PASS):
        least = MARGIN * (PASS + 2 * rows) / (PASS + rows) - 1
        room_B = np.ones(rows, dtype=np.int64)
        assert best_count(np.full(rows, least - 0.01), room_B) == 0
        assert best_count(np.full(rows, least + 0.01), room_B) == 1


def test_guessing_itself_has_a_price() -> None:
    assert best_count(np.full(2, 0.9), np.full(2, 8)) > best_count(np.full(2, 0.9), np.full(2, 8), 4.0) > 0
    assert best_count(np.full(2, 0.9), np.full(2, 8), 26.0) == 0


def test_old_guesses_are_forgotten_by_halves() -> None:
    share = Share(0.0, 0.0)
    share.note(512, 512)
    assert (share.right, share.tried) == (512, 512)
    share.note(0, 2)
    assert (share.right, share.tried) == (256, 257)


# ---- that it changes nothing


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "qwen2", "llama"])
def test_traces_are_the_same_with_guesses_and_without(family: str, eager_to_guess: None) -> None:
    one = policy(family)
    wanted = by_key(EmbeddedEngine(one).generate(echoing()))
    engine = EmbeddedEngine(one, options=Options(lookup=True))
    drawn = by_key(engine.generate(echoing()))
    assert engine.tokens_guessed > 50
    assert same(drawn, wanted)
    assert engine.tokens_sampled == sum(len(one.ids) for one in drawn.values())


def same(drawn: dict[Key, Completion], wanted: dict[Key, Completion]) -> bool:
    for key, one in drawn.items():
        assert one.logprobs == pytest.approx(wanted[key].logprobs, abs=1e-4)
    return {key: (one.ids, one.stop) for key, one in drawn.items()} == {
        key: (one.ids, one.stop) for key, one in wanted.items()
    }


def test_rows_that_lose_their_pages_guess_on(eager_to_guess: None) -> None:
    one, page = policy(), 4
    pages = most_pages(70, 40, page) + 6
    size = EmbeddedEngine(one, options=Options(page=page)).page_bytes
    for draft in (None, policy(seed=1)):
        wanted = by_key(EmbeddedEngine(one).generate(echoing()))
        engine = EmbeddedEngine(
            one, options=Options(20, 8, page, pages * size * (1 + (draft is not None)), lookup=True), draft=draft
        )
        drawn = by_key(engine.generate(echoing()))
        assert engine.preemptions > 5
        assert engine.tokens_guessed > 50
        assert same(drawn, wanted)


def test_the_greedy_choice_is_guessed_and_kept(eager_to_guess: None) -> None:
    """A greedy row of a small random model soon repeats itself, and then every guess is right."""
    listed = requests([prompt("p0", ECHO)], 1, Sampling(temperature=0.0, max_new=100))
    one = policy()
    wanted = by_key(EmbeddedEngine(one).generate(listed))
    engine = EmbeddedEngine(one, options=Options(lookup=True))
    assert same(by_key(engine.generate(listed)), wanted)
    assert engine.guesses_right > 10


def test_every_token_is_seen_once_and_in_order(eager_to_guess: None) -> None:
    seen: dict[Key, list[int]] = {request.key: [] for request in echoing()}
    engine = EmbeddedEngine(policy(), options=Options(lookup=True))
    drawn = by_key(engine.generate(echoing(), on_token=lambda key, token: seen[key].append(token)))
    assert {key: list(one.ids) for key, one in drawn.items()} == seen


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("source", ["lookup", "small model"])
def test_what_is_drawn_follows_the_distribution(compute: torch.dtype, source: str, eager_to_guess: None) -> None:
    """Chi-square over the pairs of the second and third token given the first, which both come out of guesses."""
    if compute is torch.bfloat16 and kernels.library() is None:
        pytest.skip("there is no C++ compiler here, so no kernels")
    shape = {
        "hidden_size": 64,
        "head_dim": 32,
        "initializer_range": 0.15,
        "tie_word_embeddings": True,
    }  # tied, it repeats
    subject = policy("llama", compute, **shape)
    draft = policy("llama", compute, **shape) if source == "small model" else None
    if draft is not None:
        torch.manual_seed(3)
        with torch.no_grad():
            for weight in draft.module.parameters():
                weight.add_(torch.randn_like(weight) * 0.02)
    draws, sampling = 6000, Sampling(temperature=0.3, max_new=5, seed=2)
    given = prompts((110,))
    before = given[0].ids
    engine = EmbeddedEngine(subject, options=Options(lookup=True), draft=draft)
    drawn = [one.ids for one in engine.generate(requests(given, draws, sampling))]
    assert engine.tokens_guessed - engine.guesses_right > 300
    assert engine.guesses_right > 100
    own = eager(subject)
    first, count = torch.tensor([ids[0] for ids in drawn]).unique(return_counts=True)
    with torch.inference_mode():
        after_first = own(torch.tensor([[*before, token] for token in first.tolist()])).logits[:, -1].double().numpy()
    second = np.stack([exact(row, sampling) for row in after_first])
    observed = np.zeros_like(second)
    where = {token: number for number, token in enumerate(first.tolist())}
    for ids in drawn:
        observed[where[ids[0]], ids[1]] += 1
    assert p_value(observed.ravel(), (count.double().numpy()[:, None] * second).ravel()) > 1e-4
    usual = np.argsort(-observed.ravel())[
        :8
    ]  # the most frequent beginnings, each with its own distribution of third tokens
    beginnings = [(int(first[i // second.shape[1]]), int(i % second.shape[1])) for i in usual]
    with torch.inference_mode():
        third = own(torch.tensor([[*before, *two] for two in beginnings])).logits[:, -1].double().numpy()
    tables = [np.bincount([ids[2] for ids in drawn if ids[:2] == two], minlength=272) for two in beginnings]
    due = [table.sum() * exact(row, sampling) for table, row in zip(tables, third, strict=True)]
    assert p_value(np.concatenate(tables).astype(float), np.concatenate(due)) > 1e-4


# ---- a small model


def test_a_model_that_is_the_policy_guesses_right(eager_to_guess: None) -> None:
    """It draws with the row's own random numbers, so what it guesses is what is drawn, to the last token."""
    one = policy()
    listed = requests(prompts((4, 9)), 3, Sampling(max_new=30, seed=2))
    engine = EmbeddedEngine(one, draft=policy())
    assert same(by_key(engine.generate(listed)), by_key(EmbeddedEngine(one).generate(listed)))
    assert engine.guesses_right == engine.tokens_guessed > 100


def test_a_model_that_knows_nothing_is_not_asked_for_long() -> None:
    """Weights of its own: hardly a guess is right, and after a few there are no more."""
    engine = EmbeddedEngine(policy(num_hidden_layers=8), draft=policy(seed=1, num_hidden_layers=1))
    listed = requests(prompts((4,)), 1, Sampling(max_new=100, seed=2))
    drawn = by_key(engine.generate(listed))
    assert 0 < engine.tokens_guessed < 40
    assert same(drawn, by_key(EmbeddedEngine(policy(num_hidden_layers=8)).generate(listed)))


def test_with_many_rows_nothing_is_guessed() -> None:
    engine = EmbeddedEngine(policy(), options=Options(lookup=True))
    for _ in engine.generate(requests(prompts((4, 9)), 150, Sampling(max_new=12, seed=2))):
        pass
    assert engine.tokens_guessed == 0


def test_what_repeats_itself_is_guessed_unasked() -> None:
    """Nothing is forced here: a greedy row that goes in circles earns its guesses."""
    listed = requests([prompt("p0", ECHO)], 1, Sampling(temperature=0.0, max_new=100))
    engine = EmbeddedEngine(policy(), options=Options(lookup=True))
    for _ in engine.generate(listed):
        pass
    assert engine.guesses_right > 15
    assert engine.guesses_right > 0.6 * engine.tokens_guessed


def test_another_vocabulary_is_refused() -> None:
    other = policy()
    words = train_tokenizer(["entirely other words, of which there are many more."] * 4, 280, 128)
    with pytest.raises(EngineError, match=r"sampling\.drafts\) has another vocabulary"):
        EmbeddedEngine(policy(), draft=Policy(other.module, words, other.compute))


def test_a_run_file_names_who_guesses(tmp_path: Path) -> None:
    one = policy("qwen3", torch.bfloat16, hidden_size=64, head_dim=32)
    assert one.family in FAMILIES
    one.save(tmp_path / "small")
    named = engine_of(one, SamplingConfig(drafts=str(tmp_path / "small"), rows=7))
    assert isinstance(named, EmbeddedEngine)
    assert named.draft is not None and named.options == Options(7)
    looking = engine_of(one, SamplingConfig(drafts="lookup", cache_gib=0.5, cache="bfloat16"))
    assert isinstance(looking, EmbeddedEngine)
    assert looking.options == Options(cache_bytes=2**29, cache_dtype=torch.bfloat16, lookup=True)


def test_who_guesses_is_off_lookup_or_a_folder() -> None:
    with pytest.raises(
        ConfigError, match=r"sampling\.drafts is 'lokup', which is no folder; it takes \"off\", \"lookup\""
    ):
        engine_of(policy(), SamplingConfig(drafts="lokup"))


def test_settings_of_the_embedded_engine_are_refused_where_another_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "FAMILIES", ())
    monkeypatch.setattr(choice, "_off", lambda engine: 1.0)
    with pytest.raises(EngineError, match=r"is sampled by transformers' generate, on which .* have no effect"):
        engine_of(policy(), SamplingConfig(drafts="lookup"))


def test_a_cache_with_a_small_model_beside_it_counts_both() -> None:
    one = policy()
    both = EmbeddedEngine(one, draft=policy(num_hidden_layers=1))
    assert both.page_bytes == 1.5 * EmbeddedEngine(one).page_bytes
