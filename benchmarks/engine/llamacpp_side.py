"""llama.cpp as a contender, through the C interface of llama-cpp-python; runs in the peers' environment.

A decode round is batches of one token a sequence, the logits of all of them, the likeliest token of each by NumPy; the
next token comes from the stream that Lindos is fed, too.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.engine.asking import Answer, serve, tokens

llama: Any = import_module("llama_cpp")
LOAD_MODES = {"auto": -1, "read": 0, "mmap": 1, "direct": 4}
FLASH = {"auto": -1, "off": 0, "on": 1}


class Side:
    """A model, and a context that is made anew for other settings."""

    def __init__(self) -> None:
        llama.llama_backend_init()
        self.model: Any = None
        self.context: Any = None
        self.most = 0
        self.batch: Any = None
        self.vocabulary = 0
        self.position = 0
        self.streams: list[list[int]] = []

    def load(self, model: str, mode: str = "auto", repack: bool = True) -> Answer:
        """`repack`: whether weights may be rearranged for the processor, which takes memory of its own."""
        self._free()
        started = time.perf_counter()
        parameters = llama.llama_model_default_params()
        parameters.load_mode = LOAD_MODES[mode]
        parameters.use_extra_bufts = repack
        self.model = llama.llama_model_load_from_file(model.encode(), parameters)
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {model}")
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        return {"seconds": time.perf_counter() - started}

    def settings(self, sequences: int, context: int, threads: int, flash: str, batch: int, ubatch: int) -> Answer:
        """A new context of `context` tokens for each of so many sequences."""
        if self.context:
            llama.llama_free(self.context)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = sequences * context
        parameters.n_seq_max = sequences
        parameters.n_batch, parameters.n_ubatch = max(batch, sequences), max(min(batch, ubatch), sequences)
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = FLASH[flash]
        parameters.no_perf = True
        self.context = llama.llama_init_from_model(self.model, parameters)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context with these settings")
        self.most = max(batch, sequences)
        self.batch = llama.llama_batch_init(self.most, 0, 1)
        return {}

    def begin(self, sequences: int, prompt: int, steps: int, vocabulary: int) -> Answer:
        """Read the prompts of all sequences, as many tokens at a time as a batch takes."""
        started = time.perf_counter()
        self._clear()
        self.streams = [tokens(prompt + steps + 1, vocabulary, number) for number in range(sequences)]
        rows = [(stream[place], place, n) for n, stream in enumerate(self.streams) for place in range(prompt)]
        for first in range(0, len(rows), self.most):
            self._run(rows[first : first + self.most], [])
        self.position = prompt
        return {"seconds": time.perf_counter() - started}

    def decode(self, steps: int) -> Answer:
        started = time.perf_counter()
        everyone = list(range(len(self.streams)))
        for _ in range(steps):
            rows = [(stream[self.position], self.position, number) for number, stream in enumerate(self.streams)]
            self._run(rows, everyone)
            self.position += 1
        return {"seconds": time.perf_counter() - started}

    def prefill(self, length: int, vocabulary: int, seed: int) -> Answer:
        self._clear()
        prompt = tokens(length, vocabulary, seed)
        started = time.perf_counter()
        self._run([(token, place, 0) for place, token in enumerate(prompt)], [length - 1])
        return {"seconds": time.perf_counter() - started}

    def version(self) -> Answer:
        return {"version": llama.__version__, "system": llama.llama_print_system_info().decode()}

    def _run(self, rows: list[tuple[int, int, int]], wanted: list[int]) -> None:
        """One batch of (token, position, sequence), and the likeliest token at the wanted rows."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for row, (token, position, sequence) in enumerate(rows):
            batch.token[row], batch.pos[row] = token, position
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
            batch.logits[row] = 0
        for row in wanted:
            batch.logits[row] = 1
        if llama.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        if not wanted:
            return
        found = llama.llama_get_logits(self.context)
        logits = np.ctypeslib.as_array(found, (len(wanted), self.vocabulary))
        logits.argmax(axis=1)

    def _clear(self) -> None:
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def _free(self) -> None:
        if self.context:
            llama.llama_free(self.context)
        if self.model:
            llama.llama_model_free(self.model)
        self.context = self.model = None


if __name__ == "__main__":
    side = Side()
    serve(
        {
            "load": side.load,
            "settings": side.settings,
            "begin": side.begin,
            "decode": side.decode,
            "prefill": side.prefill,
            "version": side.version,
        }
    )
