"""An engine that answers from a script: for tests, documentation and demonstrations. Not for: sampling from a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from burnish.records import Completion, Request, Stop


class ScriptedEngine:
    """`answer(request)` gives a completion's text; `encode(text)` its token ids. Every token has log-probability 0."""

    def __init__(self, answer: Callable[[Request], str], encode: Callable[[str], Sequence[int]]) -> None:
        self._answer, self._encode = answer, encode
        self.version = 0

    def load(self, weights: object, version: int) -> None:
        """A script has no weights; only the version is noted."""
        self.version = version

    def prove(self, ids: Sequence[int]) -> tuple[int, list[float]]:
        """A script gives every token probability one."""
        return self.version, [0.0] * (len(ids) - 1)

    def generate(self, requests: Iterable[Request], enough: Callable[[], bool] | None = None) -> Iterator[Completion]:
        """One completion a request, in order; text longer than max_new tokens is cut and says so. Once `enough` says so, the others
        come back aborted, with nothing drawn.
        """
        for request in requests:
            if enough is not None and enough():
                yield Completion(request.key, (), (), "", "aborted", self.version, self.version)
                continue
            text = self._answer(request)
            stop_ids = request.sampling.stop_ids[:1]
            ids = (*self._encode(text), *stop_ids)
            cut = len(ids) > request.sampling.max_new
            ids = ids[: request.sampling.max_new]
            stop: Stop = "length" if cut else "eos"
            yield Completion(request.key, ids, (0.0,) * len(ids), text, stop, self.version, self.version)
