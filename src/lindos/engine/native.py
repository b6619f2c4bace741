"""A quantised model in the kernels' hands: a step is one call, or where experts have to be fetched, a few a layer.

Letters: T tokens, D width, H heads, C head size, E experts, R tokens sampled from, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lindos.engine.cache import Pages
from lindos.engine.network import Batch
from lindos.engine.phases import Phases
from lindos.engine.store import ExpertStore
from lindos.kernels.packing import Packed
from lindos.kernels.products import ExpertTable, NativeProducts
from lindos.kernels.twins import PackedExpert
from lindos.model.attention import attention_temperature
from lindos.specs import ModelSpec

NORMS = (
    "norm_attention_in",
    "norm_attention_out",
    "norm_experts_in",
    "norm_experts_out",
    "attention.query_norm",
    "attention.key_norm",
)
"""In the order in which the kernels take them."""


@dataclass(frozen=True)
class PackedLayer:
    """The weights of one layer; `norms` holds those that the spec has."""

    query: Packed
    key: Packed
    value: Packed
    output: Packed
    shared: PackedExpert | None
    router_DE: Tensor
    experts: ExpertTable
    norms: dict[str, Tensor]


@dataclass(frozen=True)
class PackedEnds:
    """The weights before and after the layers, bf16 or int8."""

    embedding: Packed
    head: Packed
    norm: Tensor


class NativeNetwork:
    """What `PackedNetwork` asks of its model, by the compiled kernels."""

    def __init__(
        self,
        spec: ModelSpec,
        products: NativeProducts,
        layers: Sequence[PackedLayer],
        ends: PackedEnds,
        store: ExpertStore,
    ) -> None:
        self._spec = spec
        self._store = store
        self._phases = Phases(spec)
        self._pages: Pages | None = None
        self._vocabulary = ends.head.rows
        self._network = products.network(_shape(spec))
        for layer in layers:
            self._network.add_layer(
                *(products.view(matrix) for matrix in (layer.query, layer.key, layer.value, layer.output)),
                norms=[layer.norms.get(name) for name in NORMS],
                router=layer.router_DE.t().contiguous(),
                table=products.native_table(layer.experts),
                shared=[] if layer.shared is None else [products.view(part) for part in layer.shared],
            )
        self._network.set_ends(
            products.view(ends.embedding),
            products.view(ends.head),
            ends.norm,
            embedding_multiplier=spec.embedding_multiplier,
            logit_multiplier=spec.logit_multiplier,
            logit_cap=spec.logit_softcap or 0.0,
        )

    def forward(self, batch: Batch, last: list[int]) -> Tensor:
        """As `Network.forward`, in one call, where all experts are in memory."""
        if self._pages is not batch.pages:
            self._network.keep_pages(batch.pages.layers)
            self._pages = batch.pages
        out_RV = np.empty((len(last), self._vocabulary), np.float32)
        self._network.forward(batch.tokens, *self._places(batch), last, out_RV)
        return torch.from_numpy(out_RV)

    def embed(self, tokens: list[int]) -> Tensor:
        """As `Network.embed`."""
        h_TD = torch.empty(len(tokens), self._spec.width)
        self._network.embed(tokens, h_TD)
        return h_TD

    def logits(self, h_RD: Tensor) -> Tensor:
        """As `Network.logits`."""
        out_RV = torch.empty(len(h_RD), self._vocabulary)
        self._network.logits(h_RD, out_RV)
        return out_RV

    def attend(self, layer: int, h_TD: Tensor, batch: Batch) -> Tensor:
        """As `Network.attend`."""
        o_TI = torch.empty(h_TD.shape[0], self._spec.heads * self._spec.head_size)
        self._network.attend(layer, h_TD, batch.pages.layers[layer], *self._places(batch), o_TI)
        return o_TI.unflatten(1, (self._spec.heads, -1))

    def _places(self, batch: Batch) -> tuple[Any, ...]:
        """Where the rows of a step stand, as the kernels take it."""
        tables, length, temperatures_T = batch.tables, self._spec.attention_temperature_length, None
        if length:
            temperatures_T = attention_temperature(batch.at, length)
        return tables.sequences, tables.blocks, tables.visible, *self._phases.rows(batch.positions), temperatures_T

    def finish(self, layer: int, h_TD: Tensor, o_THC: Tensor) -> Tensor:
        """As `Network.finish`; `h_TD` is changed and given back."""
        o_TI = o_THC.flatten(1)
        if self._store.complete:
            self._network.finish(layer, o_TI, h_TD)
            return h_TD
        chosen = self._network.route(layer, o_TI, h_TD)
        for some in self._store.fetch(layer, chosen, len(h_TD) * self._spec.experts_per_token):
            self._network.mix(layer, some)
        self._network.add(layer, h_TD)
        return h_TD


def _shape(spec: ModelSpec) -> dict[str, int | float | bool]:
    return {
        "width": spec.width,
        "heads": spec.heads,
        "kv_heads": spec.kv_heads,
        "size": spec.head_size,
        "choices": spec.experts_per_token,
        "eps": spec.norm_eps,
        "score_scale": spec.score_scale,
        "attention_cap": spec.attention_softcap or 0.0,
        "router_cap": spec.router_softcap or 0.0,
        "renormalise": spec.renormalise_gates,
        "shared_multiplier": spec.shared_multiplier,
        "activation": 1 if spec.activation == "silu" else 0,
    }
