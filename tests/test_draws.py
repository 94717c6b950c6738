"""Answers mended, cut short and made to go on: what the engine is given, what is inserted, what it costs, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from burnish.engine.embedded import EmbeddedEngine
from burnish.engine.scripted import ScriptedEngine
from burnish.errors import DataError, ModelError
from burnish.evaluate.methods import discarded, given, spent
from burnish.pipelines import draws as module
from burnish.pipelines import scale as pipeline
from burnish.pipelines.draws import Draws
from burnish.pipelines.scale_plan import Chained, Compared, Plan, Pooled
from burnish.prompts import Renderer
from burnish.records import Completion, Group, Key, Message, Problem, Request, Sampling, Verdict
from burnish.rollout import Sampler, Start
from tiny import tokenizer

END = tokenizer().eos_token_id
SAMPLING = Sampling(max_new=60, stop_ids=(END,), seed=1)
ANSWER = "<think>a 3, b add 5 = 8</think><answer>8</answer>"
PROBLEMS = [Problem(f"p{i}", "t", f"say {i}", {"answer": "8"}, "held_out", str(i)) for i in range(2)]
Script = Callable[[str], str]


class Judge:
    """A pool in this process: a well-formed 8 is right, what holds a question mark gets no verdict."""

    def judge(self, items: Iterable[tuple[Key, Problem, str]]) -> Iterator[tuple[Key, Verdict]]:
        for key, _, said in items:
            if "?" in said:
                yield key, Verdict("no_verdict", None, fault="crashed")
            else:
                right = "<answer>8</answer>" in said
                yield key, Verdict("right" if right else "wrong", float(right), found="8" if right else None)


def encode(text: str) -> list[int]:
    return list(tokenizer()(text, add_special_tokens=False).input_ids)


def text_of(ids: Iterable[int]) -> str:
    return str(tokenizer().decode(list(ids)))


def draws(folder: Path, script: Script | str, context: int = 400) -> Draws:
    """A model that says what the script makes of all it is given."""

    def answer(request: Request) -> str:
        return script if isinstance(script, str) else script(text_of(request.prompt.ids))

    renderer = Renderer(tokenizer())
    sampler = Sampler(
        ScriptedEngine(answer, encode),
        renderer,
        Judge(),  # type: ignore[arg-type]
        lambda problem: (Message("user", problem.question),),
        SAMPLING,
    )
    return Draws(sampler, renderer, PROBLEMS, context, folder, quiet=True)


def behind(group: Group) -> tuple[int, ...]:
    """The tokens behind the prompt."""
    return group.rollouts[0].tokens.ids[len(group.prompt.ids) :]


def inserted(group: Group) -> str:
    """What the model did not sample, behind the prompt."""
    tokens, start = group.rollouts[0].tokens, len(group.prompt.ids)
    return text_of(i for i, own in zip(tokens.ids[start:], tokens.sampled[start:], strict=True) if not own)


FIRST = Key("p0", 0)


# ---- ending a thought


def test_a_long_thought_is_ended_by_the_closing_tag_and_the_answers_opener(tmp_path: Path) -> None:
    first = draws(tmp_path, ANSWER).pool(1)
    heard: list[str] = []

    def goes_on(given_text: str) -> str:
        heard.append(given_text)
        return "8</answer>"

    cut = draws(tmp_path, goes_on).cut(first, 4, "<answer>")[FIRST]
    begun = text_of(behind(first[FIRST])[:4])
    assert heard[0].endswith(f"<|assistant|>{begun}</think><answer>")
    assert cut.rollouts[0].text == f"{begun}</think><answer>8</answer>"
    assert inserted(cut) == "</think><answer>"
    assert cut.rollouts[0].verdict.outcome == "right"


def test_what_is_inserted_is_marked_and_counts(tmp_path: Path) -> None:
    first = draws(tmp_path, ANSWER).pool(1)
    cut = draws(tmp_path, "8</answer>").cut(first, 4, "<answer>")[FIRST]
    tokens, p = cut.rollouts[0].tokens, len(cut.prompt.ids)
    drawn = len(encode("8</answer>")) + 1  # and the end token
    assert tokens.sampled[p:] == (True,) * 4 + (False,) * 2 + (True,) * drawn
    assert tokens.ids[:p] == cut.prompt.ids and tokens.logprobs[p + 4 : p + 6] == (0.0, 0.0)
    assert spent(cut) == 4 + 2 + drawn
    assert given(cut) == p + (p + 4 + 2)


@pytest.mark.parametrize("said", [ANSWER, "<answer>7</answer>", "no tags at all"])
def test_what_needs_no_cut_is_not_drawn_again(tmp_path: Path, said: str) -> None:
    first = draws(tmp_path, said).pool(1)
    again = draws(tmp_path, "never asked")
    assert again.cut(first, 50, "<answer>") == first
    assert again.sampled == 0


def test_a_thought_that_ends_at_the_limit_is_left_alone(tmp_path: Path) -> None:
    one = draws(tmp_path, ANSWER)
    first = one.pool(1)
    thought = one.thought(first[FIRST])
    assert thought is not None and thought.ends is not None
    assert one.cut(first, thought.ends, "<answer>") == first
    assert one.cut(first, thought.ends - 1, "<answer>") != first


def test_a_thought_is_not_cut_before_its_tag(tmp_path: Path) -> None:
    first = draws(tmp_path, "well: " + ANSWER).pool(1)
    cut = draws(tmp_path, "8</answer>").cut(first, 1, "<answer>")[FIRST]
    assert cut.rollouts[0].text == "well: <think></think><answer>8</answer>"


# ---- going on


def test_the_end_of_a_thought_is_taken_back(tmp_path: Path) -> None:
    first = draws(tmp_path, ANSWER).pool(1)
    one = draws(tmp_path, " no, 9</think><answer>9</answer>").waited(first, 1, "Wait")[FIRST]
    assert one.rollouts[0].text == "<think>a 3, b add 5 = 8Wait no, 9</think><answer>9</answer>"
    assert inserted(one) == "Wait"
    assert discarded(one) == 1  # the closing tag was sampled
    assert spent(one) == len(behind(one)) + 1


def test_waiting_again_pays_for_both_ends(tmp_path: Path) -> None:
    first = draws(tmp_path, ANSWER).pool(1)
    more = draws(tmp_path, " 9</think><answer>8</answer>")
    twice = more.waited(more.waited(first, 1, "Wait"), 2, "Wait")[FIRST]
    assert twice.rollouts[0].text == "<think>a 3, b add 5 = 8Wait 9Wait 9</think><answer>8</answer>"
    assert inserted(twice) == "WaitWait" and discarded(twice) == 2


@pytest.mark.parametrize("said", ["<answer>8</answer>", "<think>never closed"])
def test_without_the_end_of_a_thought_there_is_nothing_to_wait_for(tmp_path: Path, said: str) -> None:
    first = draws(tmp_path, said).pool(1)
    assert draws(tmp_path, "never asked").waited(first, 1, "Wait") == first


# ---- opening, mending, and the kinds of answers


def test_a_thought_can_be_opened_for_the_model(tmp_path: Path) -> None:
    one = draws(tmp_path, "so</think><answer>8</answer>").thinking(1)[FIRST]
    assert one.rollouts[0].text == "<think>so</think><answer>8</answer>"
    assert inserted(one) == "<think>" and given(one) == len(one.prompt.ids) + 1


@pytest.fixture
def opening_template() -> Iterator[None]:
    words = tokenizer()
    before = words.chat_template
    words.chat_template = f"{before}<think>"
    yield
    words.chat_template = before


def test_a_template_that_opens_the_thought_leaves_none_to_open(tmp_path: Path, opening_template: None) -> None:
    with pytest.raises(DataError, match="opens the thought itself"):
        draws(tmp_path, "so</think>").thinking(1)


def test_a_thought_the_template_opened_can_be_cut(tmp_path: Path, opening_template: None) -> None:
    first = draws(tmp_path, "one two three</think><answer>7</answer>").pool(1)
    cut = draws(tmp_path, "8</answer>").cut(first, 3, "<answer>")[FIRST]
    assert cut.rollouts[0].text == f"{text_of(behind(first[FIRST])[:3])}</think><answer>8</answer>"


def test_an_answer_is_shown_to_be_mended(tmp_path: Path) -> None:
    first = draws(tmp_path, "<answer>7</answer>").pool(2)
    heard: list[str] = []

    def mends(given_text: str) -> str:
        heard.append(given_text)
        return "<answer>8</answer>"

    mended = draws(tmp_path, mends).mended(first, 1, "Sure")
    assert set(heard) == {
        f"<|user|>say {i}<|assistant|><answer>7</answer><|end|><|user|>Sure<|assistant|>" for i in range(2)
    }
    assert [group.rollouts[0].verdict.outcome for group in mended.values()] == ["right"] * 4
    assert list(mended) == list(first)


def test_the_opener_is_what_most_answers_have(tmp_path: Path) -> None:
    assert draws(tmp_path / "a", "").opener(draws(tmp_path / "a", ANSWER).pool(1)) == "<answer>"
    assert draws(tmp_path / "b", "").opener(draws(tmp_path / "b", r"so \boxed{7}").pool(1)) == "\n\\boxed{"
    assert draws(tmp_path / "c", "").opener(draws(tmp_path / "c", "<answer>").pool(1)) == ""


# ---- what is kept


def test_what_is_kept_is_not_drawn_again(tmp_path: Path) -> None:
    first = draws(tmp_path, ANSWER).pool(2)
    again = draws(tmp_path, "never asked")
    kept = again.pool(2)
    assert [group.rollouts[0].tokens for group in kept.values()] == [g.rollouts[0].tokens for g in first.values()]
    assert again.sampled == 0 and again.kept == sum(map(spent, first.values()))


def test_a_larger_pool_draws_only_what_is_missing(tmp_path: Path) -> None:
    draws(tmp_path, ANSWER).pool(1)
    more = draws(tmp_path, "<answer>7</answer>").pool(2)
    assert {key.index: group.rollouts[0].text for key, group in more.items()} == {0: ANSWER, 1: "<answer>7</answer>"}


def test_another_text_makes_other_answers(tmp_path: Path) -> None:
    first = draws(tmp_path, "<answer>7</answer>").pool(1)
    assert (
        draws(tmp_path, "<answer>8</answer>").mended(first, 1, "Sure")[FIRST].rollouts[0].text == "<answer>8</answer>"
    )
    assert (
        draws(tmp_path, "<answer>9</answer>").mended(first, 1, "sure")[FIRST].rollouts[0].text == "<answer>9</answer>"
    )


class Failing(ScriptedEngine):
    """Breaks in its second call."""

    calls = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().generate(requests)


def test_an_interruption_costs_the_part_that_was_drawn_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWERS_AT_ONCE", 3)
    broken = draws(tmp_path, ANSWER)
    broken.sampler = replace(broken.sampler, engine=Failing(lambda _: ANSWER, encode))
    with pytest.raises(KeyboardInterrupt):
        broken.pool(4)
    later = draws(tmp_path, "<answer>7</answer>").pool(4)
    assert [group.rollouts[0].text == ANSWER for group in later.values()] == [True] * 3 + [False] * 5


def test_what_does_not_fit_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="context of 64"):
        draws(tmp_path, ANSWER, context=64).pool(1)
    assert not (tmp_path / "pool").exists()


def test_kinds_of_answers_do_not_share_their_noise(tmp_path: Path) -> None:
    seeds: list[int] = []

    class Noting(ScriptedEngine):
        def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
            listed = list(requests)
            seeds.append(listed[0].sampling.seed)
            return super().generate(listed)

    one = draws(tmp_path, ANSWER)
    one.sampler = replace(one.sampler, engine=Noting(lambda _: ANSWER, encode))
    first = one.pool(1)
    one.thinking(1)
    one.waited(first, 1, "Wait")
    assert len(set(seeds)) == 3


def test_going_on_from_a_beginning_gives_what_the_whole_would_have_been() -> None:
    engine = EmbeddedEngine(tiny.policy("qwen3"))
    sampler = Sampler(engine, Renderer(tokenizer()), Judge(), lambda _: (), SAMPLING)  # type: ignore[arg-type]
    prompt = tiny.prompts([9])[0]
    greedy = Sampling(temperature=0.0, max_new=10, stop_ids=(END,))
    start = Start.fresh(replace(PROBLEMS[0], id=prompt.problem_id), prompt, 0)
    [whole] = sampler.answers([start], greedy).values()
    tokens = whole.tokens
    begun = replace(
        tokens, ids=tokens.ids[:13], sampled=tokens.sampled[:13], logprobs=tokens.logprobs[:13]
    )  # the prompt and 4 more
    [rest] = sampler.answers([replace(start, written=begun)], replace(greedy, max_new=6)).values()
    assert rest.tokens.ids == tokens.ids and rest.tokens.sampled == tokens.sampled
    assert rest.text == whole.text


# ---- methods that turn out to be impossible


def plan(*methods: str) -> Plan:
    asked = Compared(methods=methods, against="sample" if methods else "vote")
    return Plan("m", "t", {}, "out", SAMPLING, Pooled(samples=2), Chained(count=1, ask="Sure"), asked)


def test_a_model_without_thoughts_has_none_to_force(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^forced: none of 2 answers thinks"):
        pipeline._gather(plan("sample", "forced"), ["sample", "forced"], draws(tmp_path, "<answer>8</answer>"), [])


def test_what_was_not_asked_for_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    methods, notices = ["sample", "mended", "forced"], list[str]()
    gathered = pipeline._gather(plan(), methods, draws(tmp_path, "<answer>8</answer>"), notices)
    assert methods == ["sample", "mended"] and gathered.series.keys() == {"mended"}
    assert len(notices) == 1 and notices[0].startswith("forced is left out: none of 2 answers thinks")


def test_a_problem_with_an_answer_that_got_no_verdict_is_left_out_of_everything(tmp_path: Path) -> None:
    def doubtful(given_text: str) -> str:
        return "what?" if "say 1" in given_text else ANSWER

    notices: list[str] = []
    assert pipeline._counted(PROBLEMS, [draws(tmp_path, doubtful).pool(2)], notices) == ["p0"]
    assert notices == ["1 of 2 problems are left out: an answer to each got no verdict."]


def test_nothing_is_measured_without_any_verdict(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mend the verifier first"):
        pipeline._counted(PROBLEMS, [draws(tmp_path, "what?").pool(1)], [])
