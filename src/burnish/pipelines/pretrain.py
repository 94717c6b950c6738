"""Make a small language model from scratch: a tokenizer, a network, and plain next-token training on a generated corpus.

Whole documents, each a row of its own (documents packed across each other are learned far slower). Not for: pretraining at scale.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.config import PretrainConfig, dumps
from burnish.errors import ConfigError, ResumeError
from burnish.journal.files import append_line, storage_error, write_atomic, write_files
from burnish.learner.learner import Learner, Optimization
from burnish.metrics import Mean, Metrics, values
from burnish.policy.model import Policy, from_scratch, tune_allocator
from burnish.policy.tokenizer import train_tokenizer
from burnish.prompts import Renderer
from burnish.records import Key, Message, Problem, Sample, Tokens
from burnish.run.display import Display
from burnish.tasks import load as load_task
from burnish.tasks import write_documents
from burnish.tasks.documents import Document

COLUMNS = (
    ("loss/token", "loss, nats a token", "{:6.3f}"),
    ("speed/trained", "tokens/s", "{:8.0f}"),
    ("optim/lr", "learning rate", "{:.1e}"),
)


@dataclass(frozen=True)
class Pretrained:
    """The model, where it is, and what it cost."""

    policy: Policy
    out: Path
    loss: float
    tokens: int
    seconds: float


def pretrain(config: PretrainConfig, quiet: bool = False) -> Pretrained:
    """Train and save. Raises ConfigError for a task that writes no documents, ResumeError for an `out` that holds something."""
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ResumeError(f"{out} already holds something; choose another out, or remove it.")
    tune_allocator()
    task = load_task(config.corpus.task, config.corpus.options)
    documents = write_documents(task, config.seed, config.corpus.documents)
    first = list(itertools.islice(documents, config.corpus.tokenizer_documents))
    shape = config.scratch.model_dump()
    vocab_size = shape.pop("vocab_size")
    texts = (f"{document.question} {document.response}" for document in first)
    tokenizer = train_tokenizer(texts, vocab_size, config.scratch.max_position_embeddings)
    policy = from_scratch(tokenizer, {**shape, "tie_word_embeddings": True}, config.compute, config.seed)
    settings = config.optimizer
    learner = Learner(
        policy,
        Optimization(total_updates=config.updates, **settings.model_dump()),
        seed=config.seed,
        evidence=out / "not_finite.jsonl",
    )
    renderer = Renderer(tokenizer)
    for document in first:
        _tokens(renderer, document, config)  # refuses one that is too long before anything is written
    rows = _rows(renderer, itertools.chain(first, documents), config)
    log = out / "pretrain.jsonl"
    started, tokens, loss = time.perf_counter(), 0, float("nan")
    with Display("pretraining", config.updates, COLUMNS, quiet) as display:
        for update, samples in enumerate(itertools.islice(rows, config.updates), start=1):
            before = time.perf_counter()
            metrics = values(learner.update(samples, negative_log_likelihood, _token_mean))
            count = sum(len(sample.tokens.ids) for sample in samples)
            tokens, loss = tokens + count, metrics["loss/token"]
            metrics["speed/trained"] = count / (time.perf_counter() - before)
            display.step(update, metrics)
            if update == 1:
                _make(out, config)
            append_line(log, {"update": update, **metrics})
    write_files(out, policy.save, last="config.json")
    return Pretrained(policy, out, loss, tokens, time.perf_counter() - started)


def negative_log_likelihood(fields: Any) -> tuple[Any, Metrics]:
    """The supervised objective: -sum_N weight_N logp_N. (`fields` is burnish.learner.batch.TokenFields.)"""
    nll_N = -fields.logp_N
    return (fields.weight_N * nll_N).sum(), {"loss/token": Mean(float(nll_N.detach().sum()), float(nll_N.numel()))}


def _token_mean(samples: Any) -> dict[Key, float]:
    total = sum(sample.tokens.sampled_count for sample in samples)
    return {sample.origin: 1.0 / total for sample in samples}


def _rows(renderer: Renderer, documents: Iterator[Document], config: PretrainConfig) -> Iterator[list[Sample]]:
    """Steps of `config.documents` rows in the order they are written; the response is what is learned."""
    for step in itertools.count():
        rows = []
        for i, document in enumerate(itertools.islice(documents, config.documents)):
            tokens = _tokens(renderer, document, config)
            rows.append(Sample(Key(f"{step}/{i}", 0), tokens, (0.0,) * len(tokens.ids), 0.0, 0, 0))
        yield rows


def _tokens(renderer: Renderer, document: Document, config: PretrainConfig) -> Tokens:
    problem = Problem("document", "corpus", document.question, {}, "train", "")
    prompt = renderer.prompt(problem, (Message("user", document.question),)).ids
    ids = renderer.response_ids(document.response)
    context = config.scratch.max_position_embeddings
    if len(prompt) + len(ids) > context:
        raise ConfigError(
            f"scratch.max_position_embeddings is {context}, but a document of the corpus has {len(prompt) + len(ids)} tokens "
            f"({document.question!r}); raise it, or take shorter problems in corpus.options."
        )
    return Tokens.join(prompt, ids, (0.0,) * len(ids))


def _make(out: Path, config: PretrainConfig) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    write_atomic(out / "pretrain.toml", dumps(config))
