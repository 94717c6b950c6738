"""Follow one problem through one step of training and print what each room makes of it: the numbers of how-a-step-works.md.

    python docs/trace_a_step.py

Everything here is what `burnish.loop.train` does in its eight statements, taken apart so that one can look in between. The
model is tiny and made on the spot; everything is seeded, in float32 and on one thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch

from burnish.algos.recipes import recipe
from burnish.engine.embedded import EmbeddedEngine
from burnish.learner.batch import batches
from burnish.learner.learner import Learner, Optimization
from burnish.metrics import values
from burnish.policy.model import Policy, from_scratch
from burnish.policy.sampling import SamplingDistribution
from burnish.policy.tokenizer import train_tokenizer
from burnish.prompts import Renderer
from burnish.records import Key, Prompt, Request, Sampling, Tokens
from burnish.rollout import Sampler
from burnish.tasks import load
from burnish.verify.pool import Pool

torch.set_num_threads(1)

CHAINS = {"min_steps": 1, "max_steps": 1}  # "a 3, b times 7.": one operation on the last digit
PROMPTS, SAMPLES, SEED = 2, 4, 33
SHAPE = {
    "model_type": "qwen3",
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}


def main() -> None:
    policy = small_model()
    task = load("chain", CHAINS)
    renderer = Renderer(policy.tokenizer)
    sampling = Sampling(temperature=1.0, max_new=32, stop_ids=policy.stop_ids, seed=SEED)
    print(
        f"a {policy.module.config.model_type} model of {policy.parameters:,} parameters, {len(policy.tokenizer)} tokens"
    )

    title("1 tasks: Problem")
    problems = task.train(SEED).take(PROMPTS)
    problem = problems[0]
    for name in ("id", "question", "reference", "split", "fingerprint"):
        print(f"{name:12} {getattr(problem, name)!r}")

    title("2 prompts: Prompt")
    prompt = renderer.prompt(problem, task.messages(problem))
    print("text  ", prompt.text)
    print("ids   ", *prompt.ids)
    print("tokens", *pieces(policy, prompt.ids))

    title("3 rollout: Request")
    request = Request(Key(problem.id, 0), prompt, sampling)
    print(tuple(request.key), "max_new", request.sampling.max_new, "stop_ids", request.sampling.stop_ids)

    title("4 engine: Completion")
    engine = EmbeddedEngine(policy)
    completion = next(iter(engine.generate([request])))
    print("ids     ", *completion.ids)
    print("tokens  ", *pieces(policy, completion.ids))
    print("logprobs", numbers(completion.logprobs))
    print("text    ", completion.text)
    print("stop", completion.stop, "oldest", completion.oldest, "newest", completion.newest)

    title("5 verify: Verdict, and rollout: Group")
    with Pool(task.verifier, workers=1) as pool:
        groups = Sampler(engine, renderer, pool, task.messages, sampling).groups(problems, SAMPLES)
    group = groups[0]
    for rollout in group.rollouts:
        verdict = rollout.verdict
        print(
            rollout.index, f"{verdict.outcome:5}", "found", verdict.found, "why", repr(verdict.why), dict(verdict.parts)
        )
        print("  ", rollout.text)
    assert group.rollouts[0].tokens.ids == prompt.ids + completion.ids, "the same request gives the same trace"

    title("6 algos: rewards, selection, advantages")
    chosen = recipe("grpo", clip_high=0.28, reduction="token_mean")
    kept, dropped = chosen.select(groups)
    print("rewards", *[chosen.reward.reward(rollout) for rollout in group.rollouts])
    print("kept", [one.problem.id for one in kept])
    print("dropped", [(tuple(drop.origin), drop.reason) for drop in dropped])
    samples = chosen.credit_groups(kept, {})  # needs(updates_per_step=1) is empty: nothing to score first
    ours = [sample for sample in samples if sample.origin.problem_id == problem.id]
    print("advantages", numbers(max(sample.advantages, key=abs) for sample in ours))

    title("7 algos: weights")
    weights = chosen.weigh(samples)
    lengths = [sample.tokens.sampled_count for sample in ours]
    print("sampled tokens", *lengths, "together", sum(sample.tokens.sampled_count for sample in samples))
    print("weight of a token", numbers(weights[sample.origin] for sample in ours))

    title("8 learner: Batch")
    learner = Learner(policy, Optimization(lr=1e-4, total_updates=1), SamplingDistribution(), seed=SEED)
    micro = batches(samples, weights, learner.version, budget=8192)
    for number, batch in enumerate(micro):
        print("micro-batch", number, "inputs_BT", list(batch.inputs_BT.shape), "predictions N", len(batch.targets_N))
        print("   ", " ".join(pieces(policy, batch.inputs_BT.flatten().tolist())))
    batch = micro[0]
    for name in ("place_N", "row_N", "sampler_N", "advantage_N", "weight_N", "on_policy_N"):
        print(f"{name:11}", *[shown(value) for value in getattr(batch, name)[:4].tolist()], "...")
    print("targets_N  ", *pieces(policy, batch.targets_N[:4].tolist()), "...")

    title("9 algos: the loss")
    # On policy every ratio is one, so the surrogate -min(ratio A, clip(ratio) A) of a token is -A.
    parts = [float(-(batch.weight_N * batch.advantage_N).sum()) for batch in micro]
    print("of each micro-batch", numbers(parts), "together", numbers([sum(parts)]))

    title("10 learner: the new version")
    before = [sum(row) for row in learner.log_probs([sample.tokens for sample in ours])]
    metrics = values(learner.update(samples, chosen.objective, chosen.weigh))
    after = [sum(row) for row in learner.log_probs([sample.tokens for sample in ours])]
    for name in ("policy/loss", "policy/ratio_mean", "policy/entropy", "optim/grad_norm", "optim/lr"):
        print(f"{name:18} {metrics[name]:.4f}")
    print(f"{'gap/max':18} {'below 0.0001' if metrics['gap/max'] < 1e-4 else metrics['gap/max']}")
    for sample, old, new in zip(ours, before, after, strict=True):
        print(f"trace {sample.origin.index}: reward {sample.reward}, log-probability {old:.3f} -> {new:.3f}")

    title("11 run: weights published and proved")
    engine.load(learner.weights(), learner.version)
    served, logp = engine.prove(prompt.ids)
    own = learner.log_probs([canary(prompt)])[0][1:]
    close = max(abs(a - b) for a, b in zip(logp, own, strict=True)) < 1e-4
    print("version served", served, "canary prompt agrees", close)


def small_model() -> Policy:
    """The smallest language model there is, written into a Qwen3: it knows which token follows which, and no more.

    Counted over documents of the chain corpus, not trained, so its numbers are the same on every machine and can be checked
    by hand. The layers add nothing yet (their last matrices are zero), so a token's hidden state is its own embedding, one
    hot, and the head's columns are the logarithms of the counts.
    """
    documents = list(itertools.islice(load("chain", CHAINS).documents(1, think_share=0.6, slip_rate=0.2), 1000))
    tokenizer = train_tokenizer((f"{one.question} {one.response}" for one in documents), 384, 128)
    size = len(tokenizer)
    counts = torch.full((size, size), 1e-4)  # [token, the one before it]
    for document in documents:
        ids = (*tokenizer("<|assistant|>").input_ids, *Renderer(tokenizer).response_ids(document.response))
        for before, after in itertools.pairwise(ids):
            counts[after, before] += 1.0
    policy = from_scratch(tokenizer, SHAPE | {"hidden_size": size}, compute="float32", seed=1)
    with torch.no_grad():
        for name, weight in policy.module.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        policy.module.get_input_embeddings().weight.copy_(torch.eye(size))
        policy.module.get_output_embeddings().weight.copy_(counts.log() / size**0.5)  # the last norm multiplies by it
    return policy


def canary(prompt: Prompt) -> Tokens:
    """The prompt's own tokens, all but the first to be scored."""
    return Tokens(prompt.ids, (False, *(True for _ in prompt.ids[1:])), (0.0,) * len(prompt.ids))


def pieces(policy: Policy, ids: Iterable[int]) -> list[str]:
    """The text of every token, a space at its front shown as "_"."""
    return [policy.tokenizer.decode([i]).replace(" ", "_") for i in ids]


def numbers(given: Iterable[float]) -> str:
    return " ".join(f"{value:.3f}" for value in given)


def shown(value: float | int | bool) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def title(text: str) -> None:
    print(f"\n-- {text} --")


if __name__ == "__main__":
    main()
