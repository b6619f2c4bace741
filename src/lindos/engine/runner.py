"""One step of a network: the tokens of many requests as one flat pass, only attention request by request.

Letters: T tokens of this step over all requests, D width, H heads, K key-value heads, C head size, V vocabulary,
R requests that sample after this step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lindos.engine.attention import attend
from lindos.engine.cache import RequestCache
from lindos.engine.network import Network
from lindos.engine.scheduler import Work


class Runner:
    """Runs steps of one network. Keeps nothing between steps but what stands in the requests' caches."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @torch.inference_mode()
    def run(self, work: Sequence[Work]) -> Tensor:
        """Compute the work and extend the caches; fp32 logits [R, V] of those that sample, in the order of the work.

        Running the same work again is harmless: everything is written to the position it belongs to.
        """
        network = self._network
        tokens, positions, spans = self._flatten(work)
        phase = network.phase(torch.tensor(positions, device=network.device))
        h_TD = network.embed(tokens)
        last = [stop - 1 for (_, stop), item in zip(spans, work, strict=True) if item.samples]
        for layer in range(network.spec.layers):
            q_THC, k_TKC, v_TKC = network.project(layer, h_TD, phase)
            o_THC = self._attend(layer, q_THC, torch.stack((k_TKC, v_TKC)), work, spans)
            if layer == network.spec.layers - 1:
                # After the last attention only the tokens that are sampled from matter.
                h_TD, o_THC = h_TD[last], o_THC[last]
            if len(h_TD):
                h_TD = network.finish(layer, h_TD, o_THC)
        return network.logits(h_TD)

    def _flatten(self, work: Sequence[Work]) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Tokens and their positions, and each request's span among them; its cache is made ready on the way."""
        tokens: list[int] = []
        positions: list[int] = []
        spans = []
        spec = self._network.spec
        for request, start, end in work:
            if request.cache is None:
                request.cache = RequestCache(spec, dtype=self._network.kv_dtype, device=self._network.device)
            request.cache.reserve(len(request.tokens))
            fed = request.tokens[start:end]
            request.cache.hide(start, fed, spec.pad_token)
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
            o_THC[first:stop] = attend(q_THC[first:stop], cached_2KSC[:, :, :end], visible_S, self._network.spec)
        return o_THC
