"""transformers as a contender: MixtralForCausalLM of the same sizes, in bf16, made in memory of random weights.

It has no soft cap, two norms a layer in place of four and a head of its own beside the embedding; layers, widths, heads
and experts are the same, and so are the bytes of weights a token passes through, but for the norms.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import torch

from benchmarks.engine.asking import Answer, serve, tokens
from benchmarks.engine.shapes import SHAPES


class Side:
    """One model in memory, and one sequence."""

    def __init__(self) -> None:
        self.transformers: Any = import_module("transformers")
        self.model: Any = None
        self.stream: list[int] = []

    def load(self, size: str, dtype: str = "bfloat16") -> Answer:
        spec = SHAPES[size]
        config = self.transformers.MixtralConfig(
            vocab_size=spec.vocabulary,
            hidden_size=spec.width,
            intermediate_size=spec.expert_width,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            num_key_value_heads=spec.kv_heads,
            head_dim=spec.head_size,
            max_position_embeddings=spec.sequence,
            num_local_experts=spec.experts,
            num_experts_per_tok=spec.experts_per_token,
            hidden_act="gelu_pytorch_tanh",
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
        torch.manual_seed(0)
        torch.set_default_dtype(getattr(torch, dtype))
        self.model = self.transformers.MixtralForCausalLM(config).eval()
        return {"version": self.transformers.__version__, "torch": torch.__version__}

    def settings(self, experts: str, threads: int) -> Answer:
        """`experts`: transformers' way to compute them."""
        torch.set_num_threads(threads)
        self.model.set_experts_implementation(experts)
        return {}

    @torch.inference_mode()
    def begin(self, sequences: int, prompt: int, steps: int, vocabulary: int) -> Answer:
        assert sequences == 1
        self.stream = tokens(prompt + steps + 1, vocabulary, 0)
        self.cache = self.transformers.DynamicCache(config=self.model.config)
        self._run(self.stream[:prompt])
        self.position = prompt
        return {}

    @torch.inference_mode()
    def decode(self, steps: int) -> Answer:
        started = time.perf_counter()
        for _ in range(steps):
            self._run([self.stream[self.position]])
            self.position += 1
        return {"seconds": time.perf_counter() - started}

    @torch.inference_mode()
    def prefill(self, length: int, vocabulary: int, seed: int) -> Answer:
        prompt = tokens(length, vocabulary, seed)
        self.cache = self.transformers.DynamicCache(config=self.model.config)
        started = time.perf_counter()
        self._run(prompt)
        return {"seconds": time.perf_counter() - started}

    def _run(self, fed: list[int]) -> None:
        logits = self.model(
            input_ids=torch.tensor([fed]), past_key_values=self.cache, use_cache=True, logits_to_keep=1
        ).logits
        int(logits[0, -1].argmax())


if __name__ == "__main__":
    side = Side()
    serve(
        {
            "load": side.load,
            "settings": side.settings,
            "begin": side.begin,
            "decode": side.decode,
            "prefill": side.prefill,
        }
    )
