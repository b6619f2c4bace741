"""One step of the network: the tokens of many requests as one flat pass, only attention request by request.

Letters: T tokens of this step over all requests, D width, H heads, K key-value heads, C head size, V vocabulary,
R requests that sample after this step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lindos.engine.attention import attend
from lindos.engine.cache import RequestCache
from lindos.engine.scheduler import Work
from lindos.model import Transformer
from lindos.model.experts import route
from lindos.model.norm import rms_norm
from lindos.model.rope import rotary_phase
from lindos.model.transformer import Block


class Runner:
    """Runs steps of one Transformer. Keeps nothing between steps but what stands in the requests' caches."""

    def __init__(self, model: Transformer) -> None:
        self._model = model.eval()
        self._device = model.embedding.device
        self._dtype = model.embedding.dtype

    @torch.inference_mode()
    def run(self, work: Sequence[Work]) -> Tensor:
        """Compute the work and extend the caches; fp32 logits [R, V] of those that sample, in the order of the work.

        Running the same work again is harmless: everything is written to the position it belongs to.
        """
        spec = self._model.spec
        tokens, positions, spans = self._flatten(work)
        phase = rotary_phase(torch.tensor(positions, device=self._device), spec.head_size, spec.rope_base)
        h_TD = self._model.embed(torch.tensor(tokens, device=self._device))
        last = [stop - 1 for (_, stop), item in zip(spans, work, strict=True) if item.samples]
        for index, block in enumerate(self._model.layers):
            assert isinstance(block, Block)
            q_THC, k_TKC, v_TKC = block.attention.project(block.attend_input(h_TD), phase)
            o_THC = self._attend(index, q_THC, torch.stack((k_TKC, v_TKC)), work, spans)
            if index == spec.layers - 1:
                if not last:
                    break
                # After the last attention only the tokens that are sampled from matter.
                h_TD, o_THC = h_TD[last], o_THC[last]
            h_TD = block.add_attention(h_TD, block.attention.finish(o_THC))
            h_TD = _add_experts(block, h_TD)
        return self._model.logits(self._model.normalise(h_TD[: len(last)]))

    def _flatten(self, work: Sequence[Work]) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Tokens and their positions, and each request's span among them; its cache is made ready on the way."""
        tokens: list[int] = []
        positions: list[int] = []
        spans = []
        for request, start, end in work:
            if request.cache is None:
                request.cache = RequestCache(self._model.spec, dtype=self._dtype, device=self._device)
            request.cache.reserve(len(request.tokens))
            fed = request.tokens[start:end]
            request.cache.hide(start, fed, self._model.spec.pad_token)
            spans.append((len(tokens), len(tokens) + len(fed)))
            tokens += fed
            positions += range(start, end)
        return tokens, positions, spans

    def _attend(
        self, layer: int, q_THC: Tensor, kv_2TKC: Tensor, work: Sequence[Work], spans: list[tuple[int, int]]
    ) -> Tensor:
        o_THC = torch.empty_like(q_THC)
        for (request, start, end), (first, stop) in zip(work, spans, strict=True):
            assert request.cache is not None
            cached_2KSC = request.cache.layers[layer]
            cached_2KSC[:, :, start:end] = kv_2TKC[:, first:stop].transpose(1, 2)
            visible_S = request.cache.visible(end)
            o_THC[first:stop] = attend(q_THC[first:stop], cached_2KSC[:, :, :end], visible_S, self._model.spec)
        return o_THC


def _add_experts(block: Block, h_TD: Tensor) -> Tensor:
    """The residual stream with the experts' result added.

    On a CPU, for one token, sorting by expert and counting (the model's way) cost as much as the products.
    """
    if h_TD.shape[0] != 1 or h_TD.is_cuda:
        return block.add_experts(h_TD)[0]
    experts = block.experts
    x_1D = rms_norm(h_TD, block.norm_experts_in, block.eps)
    routing = route(x_1D, experts.router, experts.spec)
    gates_k = routing.gates[0].to(x_1D.dtype)
    mixed_1D = torch.zeros_like(x_1D)
    for gate, index in zip(gates_k, routing.chosen[0].tolist(), strict=True):
        inner_1F = _activate(x_1D @ experts.gate[index], experts.spec.activation).mul_(x_1D @ experts.up[index])
        mixed_1D.add_((inner_1F @ experts.down[index]).mul_(gate))
    return h_TD + rms_norm(mixed_1D, block.norm_experts_out, block.eps)


def _activate(x: Tensor, activation: str) -> Tensor:
    return functional.gelu(x, approximate="tanh") if activation == "gelu_tanh" else functional.silu(x)
