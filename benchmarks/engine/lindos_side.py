"""Lindos as a contender: the engine in-process, its own scheduler, runner and sampler, asked over a pipe.

A decode round is whole engine steps, sampling at temperature 0 included; then the next token of a fixed stream takes
the sampled one's place, so that every contender goes the same way through the experts and none of random weights'
endless repetitions flatters a cache.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.engine.asking import Answer, serve, tokens
from lindos.engine.interface import EngineOptions, Sampling
from lindos.engine.loading import LoadedEngine, load_engine
from lindos.engine.network import forward_by_layers
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.kernels import usable_cores

COUNTERS = ("expert_bytes_read", "expert_bytes_needed", "expert_hits", "expert_misses")


class Side:
    """One loaded engine and the requests under way."""

    def __init__(self) -> None:
        self.loaded: LoadedEngine | None = None
        self.requests: list[Request] = []
        self.streams: list[list[int]] = []

    def load(
        self,
        model: str,
        memory: int | None = None,
        sequences: int = 32,
        context: int = 1024,
        threads: int | None = None,
    ) -> Answer:
        """`threads`: one a core where nothing else is said."""
        threads = threads or usable_cores()
        options: dict[str, Any] = {"threads": threads, "max_running": sequences, "max_requests": sequences}
        # A prompt that comes again must be computed again.
        options |= {"step_tokens": 512, "context": context, "kv_tokens": sequences * context, "prefix_reuse": False}
        options["speculation"] = False  # tokens are those of a random stream, and no guess would be right
        if memory is not None:
            if "memory" not in {field.name for field in fields(EngineOptions)}:
                return {"lacks": "this engine keeps every expert in memory: EngineOptions has no field 'memory'"}
            options["memory"] = memory
        self.loaded = load_engine(Path(model), EngineOptions(**options), lambda *_: None)
        info = self.loaded.info
        return {"kernels": info.kernels, "threads": info.threads, "weights": info.dtype, "seconds": info.load_seconds}

    def begin(self, sequences: int, prompt: int, steps: int, vocabulary: int) -> Answer:
        """Requests that have read their prompts and are about to decode up to `steps` tokens each."""
        self.end()
        started = time.perf_counter()
        for number in range(sequences):
            stream = tokens(prompt + steps + 1, vocabulary, number)
            self._add(stream[:prompt], steps + 1, stream[prompt:])
        while any(len(request.tokens) == request.prompt_tokens for request in self.requests):
            self._step()
        return {"seconds": time.perf_counter() - started}

    def decode(self, steps: int) -> Answer:
        """So many steps of all requests, a token each a step."""
        started = time.perf_counter()
        for _ in range(steps):
            self._step()
        return {"seconds": time.perf_counter() - started}

    def prefill(self, length: int, vocabulary: int, seed: int) -> Answer:
        """One prompt up to its first token."""
        self.end()
        self._add(tokens(length, vocabulary, seed), 2, [1])
        started = time.perf_counter()
        while len(self.requests[0].tokens) == length:
            self._step()
        seconds = time.perf_counter() - started
        self.end()
        return {"seconds": seconds}

    def routing(self, steps: int) -> Answer:
        """Goes on decoding, unmeasured, and watches which experts are chosen.

        `touched` is their mean number a step over all layers; `balance` the entropy of each layer's load over its
        experts divided by ln(experts), averaged over layers: 1 is even, 0 one expert for all; `repeated` the share of
        a sequence's choices that it made one step before in the same layer.
        """
        watch = _Watch(self._core)
        for _ in range(steps):
            self._step()
        return watch.done()

    def counters(self) -> Answer:
        """What the expert store counted, as far as this engine counts."""
        stats = self._core.stats()
        return {name: getattr(stats, name) for name in COUNTERS if hasattr(stats, name)}

    def end(self) -> None:
        for request in self.requests:
            self._core.cancel(request.id)
        self.requests, self.streams = [], []

    @property
    def _core(self):
        assert self.loaded is not None
        return self.loaded.core

    def _add(self, prompt: list[int], limit: int, stream: list[int]) -> None:
        number = time.perf_counter_ns()
        request = Request(number, list(prompt), limit, Sampling(temperature=0, ignore_end=True), OutputText(None, ()))
        self.requests.append(request)
        self.streams.append(stream)
        self._core.add(request)

    def _step(self) -> None:
        """One engine step; what it sampled gives way to the stream."""
        if self._core.idle:
            raise RuntimeError("no request is under way")
        before = [len(request.tokens) for request in self.requests]
        for event in self._core.step():
            if event.error is not None:
                raise RuntimeError(event.error)
        for request, stream, length in zip(self.requests, self.streams, before, strict=True):
            if len(request.tokens) > length:
                request.tokens[-1] = stream[len(request.tokens) - request.prompt_tokens - 1]


class _Watch:
    """Has the layers' second half computed product by product, as the kernels' twins are, and notes who is chosen."""

    def __init__(self, core: Any) -> None:
        self._network = core._runner._network
        self._native, self._finish = self._network._native, self._network.finish
        self._mix = self._network._products.mix
        self._layer = 0
        self._steps: Counter[int] = Counter()
        self._touched = 0
        self._load: dict[int, Counter[int]] = {}
        self._before: dict[int, list[list[int]]] = {}
        self._same = self._compared = 0
        self._network.finish, self._network._products.mix = self.finish, self.mix
        self._network.forward = partial(forward_by_layers, self._network)

    def finish(self, layer: int, h_TD: Any, o_THC: Any) -> Any:
        self._layer, self._network._native = layer, None
        try:
            return self._finish(layer, h_TD, o_THC)
        finally:
            self._network._native = self._native

    def mix(self, table: Any, x_TD: Any, chosen_Tk: Any, gates_Tk: Any) -> Any:
        chosen = chosen_Tk.tolist()
        self._steps[self._layer] += 1
        self._load.setdefault(self._layer, Counter()).update(expert for row in chosen for expert in row)
        self._touched += len({expert for row in chosen for expert in row})
        for row, earlier in zip(chosen, self._before.get(self._layer, []), strict=False):
            self._same += len(set(row) & set(earlier))
            self._compared += len(row)
        self._before[self._layer] = chosen
        return self._mix(table, x_TD, chosen_Tk, gates_Tk)

    def done(self) -> Answer:
        del self._network.finish, self._network.forward
        self._network._products.mix = self._mix
        experts = self._network.spec.experts
        balance = sum(_entropy(load) for load in self._load.values()) / len(self._load) / math.log(experts)
        touched = self._touched / max(self._steps.values())
        return {"touched": touched, "balance": balance, "repeated": self._same / max(1, self._compared)}


def _entropy(load: Counter[int]) -> float:
    """In nats."""
    total = sum(load.values())
    return -sum(count / total * math.log(count / total) for count in load.values() if count)


if __name__ == "__main__":
    side = Side()

    def end() -> Answer:
        side.end()
        return {}

    serve(
        {
            "load": side.load,
            "begin": side.begin,
            "decode": side.decode,
            "prefill": side.prefill,
            "routing": side.routing,
            "counters": side.counters,
            "end": end,
        }
    )
