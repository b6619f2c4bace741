"""The one Transformer: Grok-1's decoder and its neighbours' (Grok-2, Mixtral, Qwen3-MoE), by the fields of a ModelSpec.

Block: h += norm_out(attention(norm_in(h))), then h += norm_out(experts(norm_in(h))); with two norms a layer there is
no norm_out, and with a shared branch it stands beside the experts: (experts(x) + shared(x)) * shared_multiplier.
A dense layer has one MLP in their place.
Matrices are [in, out] and used as x @ w, as in the release. Norms, router and softmax run in fp32, the rest in the
dtype of the weights.

Letters: B batch, T tokens, D width, H heads, K key-value heads, C head size, E experts, F expert width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lindos.model.attention import attention, attention_temperature
from lindos.model.cache import KVCache
from lindos.model.experts import Routing, mix_experts, route
from lindos.model.mlp import gated_mlp
from lindos.model.norm import rms_norm
from lindos.model.rope import rotary_phase, rotate
from lindos.specs import ModelSpec
from lindos.specs.computable import check_trainable

Trace = dict[str, Tensor]
"""Intermediates by name, filled when a caller passes one in; for tests, logs and curious people."""


class View(NamedTuple):
    """What queries see besides all keys up to their own, as in `attention`; None stands for nothing special."""

    key_mask_BS: Tensor | None
    first_key_BT: Tensor | None
    temperature_BT: Tensor | None


def _matrix(*shape: int, dtype: torch.dtype, device: torch.device | str | None) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape, dtype=dtype, device=device))


def _in_bf16(constant: float, rounded: bool) -> float:
    return float(torch.tensor(constant, dtype=torch.bfloat16)) if rounded else constant


def _fp32(*shape: int, device: torch.device | str | None) -> nn.Parameter:
    return nn.Parameter(torch.ones(*shape, dtype=torch.float32, device=device))


class Attention(nn.Module):
    """Grouped-query attention with rotary positions; a soft cap, and norms of queries and keys, by the spec."""

    def __init__(self, spec: ModelSpec, *, dtype: torch.dtype, device: torch.device | str | None) -> None:
        super().__init__()
        self.spec = spec
        self.attend: Callable[..., Tensor] = attention
        """What looks at the keys: any function of `attention`'s arguments and result."""
        inner, kv = spec.heads * spec.head_size, spec.kv_heads * spec.head_size
        self.query = _matrix(spec.width, inner, dtype=dtype, device=device)
        self.key = _matrix(spec.width, kv, dtype=dtype, device=device)
        self.value = _matrix(spec.width, kv, dtype=dtype, device=device)
        self.output = _matrix(inner, spec.width, dtype=dtype, device=device)
        if spec.query_key_norms:
            self.query_norm = _fp32(spec.head_size, device=device)
            self.key_norm = _fp32(spec.head_size, device=device)

    def project(self, x_TD: Tensor, phase: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys (perhaps normed, then turned by `phase`) and values: [T, H, C], [T, K, C], [T, K, C]."""
        q_THC = (x_TD @ self.query).unflatten(-1, (-1, self.spec.head_size))
        k_TKC = (x_TD @ self.key).unflatten(-1, (-1, self.spec.head_size))
        v_TKC = (x_TD @ self.value).unflatten(-1, (-1, self.spec.head_size))
        if self.spec.query_key_norms:
            q_THC = rms_norm(q_THC, self.query_norm, self.spec.norm_eps)
            k_TKC = rms_norm(k_TKC, self.key_norm, self.spec.norm_eps)
        return rotate(q_THC, phase), rotate(k_TKC, phase), v_TKC

    def finish(self, o_THC: Tensor) -> Tensor:
        """The output projection: [T, H, C] -> [T, D]."""
        return o_THC.flatten(-2) @ self.output

    def forward(
        self, x_BTD: Tensor, phase: tuple[Tensor, Tensor], view: View, cache: KVCache | None, layer: int
    ) -> Tensor:
        q_BTHC, k_BSKC, v_BSKC = self.project(x_BTD, phase)
        if cache is not None:
            k_BSKC, v_BSKC = cache.extend(layer, k_BSKC, v_BSKC)
        o_BTHC = self.attend(
            q_BTHC,
            k_BSKC,
            v_BSKC,
            multiplier=self.spec.score_scale,
            softcap=self.spec.attention_softcap,
            **view._asdict(),
        )
        return self.finish(o_BTHC)


class Experts(nn.Module):
    """Router and experts of one layer."""

    def __init__(self, spec: ModelSpec, *, dtype: torch.dtype, device: torch.device | str | None) -> None:
        super().__init__()
        self.spec = spec
        self.mix: Callable[..., Tensor] = mix_experts
        """What brings tokens to experts and back: any function of `mix_experts`' arguments and result."""
        sizes = (spec.experts, spec.width, spec.expert_width)
        self.router = _fp32(spec.width, spec.experts, device=device)
        self.gate = _matrix(*sizes, dtype=dtype, device=device)
        self.up = _matrix(*sizes, dtype=dtype, device=device)
        self.down = _matrix(sizes[0], sizes[2], sizes[1], dtype=dtype, device=device)

    def route(self, x_TD: Tensor) -> Routing:
        """Where each token goes."""
        return route(x_TD, self.router, self.spec)

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        """What the chosen experts make of each token: [T, D] -> [T, D]."""
        return self.mix(x_TD, routing, self.gate, self.up, self.down, self.spec.activation)


class SharedMLP(nn.Module):
    """What every token passes: beside its chosen experts, or in a dense layer instead of them."""

    def __init__(self, spec: ModelSpec, inner: int, *, dtype: torch.dtype, device: torch.device | str | None) -> None:
        super().__init__()
        self.activation = spec.activation
        self.gate = _matrix(spec.width, inner, dtype=dtype, device=device)
        self.up = _matrix(spec.width, inner, dtype=dtype, device=device)
        self.down = _matrix(inner, spec.width, dtype=dtype, device=device)

    def forward(self, x_TD: Tensor) -> Tensor:
        return gated_mlp(x_TD, self.gate, self.up, self.down, self.activation)


class Block(nn.Module):
    """One layer: attention and experts, each behind a norm or between two, and what stands beside the experts."""

    def __init__(
        self, spec: ModelSpec, *, dense: bool = False, dtype: torch.dtype, device: torch.device | str | None
    ) -> None:
        super().__init__()
        self.eps = spec.norm_eps
        self.norms_out = spec.norms_per_layer == 4
        self.shared_multiplier = 1.0 if dense else spec.shared_multiplier
        inner = spec.dense_width if dense else spec.shared_width
        self.attention = Attention(spec, dtype=dtype, device=device)
        self.experts = None if dense else Experts(spec, dtype=dtype, device=device)
        self.shared = SharedMLP(spec, inner, dtype=dtype, device=device) if inner else None
        self.norm_attention_in = _fp32(spec.width, device=device)
        if self.norms_out:
            self.norm_attention_out = _fp32(spec.width, device=device)
        self.norm_experts_in = _fp32(spec.width, device=device)
        if self.norms_out:
            self.norm_experts_out = _fp32(spec.width, device=device)

    def forward(
        self,
        h_BTD: Tensor,
        phase: tuple[Tensor, Tensor],
        view: View,
        *,
        cache: KVCache | None = None,
        layer: int = 0,
        trace: Trace | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """The residual stream after this layer, [B, T, D], and where its tokens went; None in a dense layer."""
        x_BTD = self.attend_input(h_BTD)
        attended_BTD = self.attention(x_BTD, phase, view, cache, layer)
        h_BTD, routing = self.add_experts(self.add_attention(h_BTD, attended_BTD), trace)
        if trace is not None:
            trace |= {"attn_in": x_BTD, "attn_out": attended_BTD, "layer_out": h_BTD}
        return h_BTD, routing

    def attend_input(self, h: Tensor) -> Tensor:
        """What attention reads: the normed residual stream."""
        return rms_norm(h, self.norm_attention_in, self.eps)

    def add_attention(self, h: Tensor, attended: Tensor) -> Tensor:
        """The residual stream with attention's result added, normed where norms follow."""
        return h + (rms_norm(attended, self.norm_attention_out, self.eps) if self.norms_out else attended)

    def experts_input(self, h: Tensor) -> Tensor:
        """What router, experts and shared branch read: the normed residual stream."""
        return rms_norm(h, self.norm_experts_in, self.eps)

    def mixture(self, x_TD: Tensor, routing: Routing | None) -> Tensor:
        """Experts and shared branch together, [T, D] -> [T, D]; the branch alone in a dense layer."""
        return self._joined(x_TD, None if self.experts is None else self.experts(x_TD, routing))

    def add_mixture(self, h: Tensor, x_TD: Tensor, mixed_TD: Tensor) -> Tensor:
        """The residual stream ([..., D]) with the experts' result for `x_TD` added, joined by the shared branch's."""
        return self._add_normed(h, self._joined(x_TD, mixed_TD))

    def add_experts(self, h: Tensor, trace: Trace | None = None) -> tuple[Tensor, Routing | None]:
        """The residual stream ([..., D]) after experts and shared branch, and the routing over flat tokens."""
        x_TD = self.experts_input(h).flatten(0, -2)
        routing = None if self.experts is None else self.experts.route(x_TD)
        mixed_TD = self.mixture(x_TD, routing)
        if trace is not None and routing is not None:
            trace |= {"router_logits": routing.logits, "router_probs": routing.probabilities}
            trace |= {"moe_in": x_TD, "moe_out": mixed_TD}
        return self._add_normed(h, mixed_TD), routing

    def _joined(self, x_TD: Tensor, mixed_TD: Tensor | None) -> Tensor:
        if self.shared is not None:
            branch_TD: Tensor = self.shared(x_TD)
            mixed_TD = branch_TD if mixed_TD is None else mixed_TD + branch_TD
        assert mixed_TD is not None
        return mixed_TD if self.shared_multiplier == 1.0 or self.shared is None else mixed_TD * self.shared_multiplier

    def _add_normed(self, h: Tensor, mixed_TD: Tensor) -> Tensor:
        mixed = mixed_TD.view_as(h)
        return h + (rms_norm(mixed, self.norm_experts_out, self.eps) if self.norms_out else mixed)


class Transformer(nn.Module):
    """The whole network. Weights are uninitialised until `initialise` or a checkpoint fills them."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        bf16_constants: bool = False,
    ) -> None:
        """`bf16_constants` rounds the multipliers of embedding and logits to bf16, as the release does by running
        Python's numbers through bf16 arithmetic (78.38 becomes 78.5, 0.57735 becomes 0.578125): for bit parity.

        Raises SpecError for a spec of another kind of network.
        """
        check_trainable(spec)
        super().__init__()
        self.spec = spec
        self.embedding_multiplier = _in_bf16(spec.embedding_multiplier, bf16_constants)
        self.logit_multiplier = _in_bf16(spec.logit_multiplier, bf16_constants)
        self.embedding = _matrix(spec.vocabulary, spec.width, dtype=dtype, device=device)
        self.layers = nn.ModuleList(
            Block(spec, dense=layer < spec.dense_layers, dtype=dtype, device=device) for layer in range(spec.layers)
        )
        self.final_norm = _fp32(spec.width, device=device)
        if not spec.tied_head:
            self.head = _matrix(spec.vocabulary, spec.width, dtype=dtype, device=device)

    def forward(self, tokens_BT: Tensor, *, cache: KVCache | None = None, traces: list[Trace] | None = None) -> Tensor:
        """fp32 logits [B, T, V]. With a cache, `tokens_BT` continue what it holds, and it holds them afterwards."""
        x_BTD, _ = self.hidden(tokens_BT, cache=cache, traces=traces)
        return self.logits(x_BTD)

    def hidden(
        self,
        tokens_BT: Tensor,
        *,
        cache: KVCache | None = None,
        first_key_BT: Tensor | None = None,
        traces: list[Trace] | None = None,
    ) -> tuple[Tensor, list[Routing]]:
        """The final normed hidden states [B, T, D], and the routing of each layer with experts.

        `first_key_BT` keeps documents that are packed into one row apart, see `attention` and `document_starts`.
        """
        tokens = tokens_BT.shape[1]
        start = 0 if cache is None else cache.length
        positions_T = torch.arange(start, start + tokens, device=tokens_BT.device)
        phase = self.phase(positions_T)
        view = View(self._key_mask(tokens_BT, cache), first_key_BT, self._temperature(positions_T, first_key_BT))
        h_BTD = self.embed(tokens_BT)
        routings = []
        for index, block in enumerate(self.layers):
            assert isinstance(block, Block)
            trace: Trace | None = None if traces is None else {}
            h_BTD, routing = block(h_BTD, phase, view, cache=cache, layer=index, trace=trace)
            if routing is not None:
                routings.append(routing)
            if traces is not None and trace is not None:
                traces.append(trace)
        if cache is not None:
            cache.length += tokens
        return self.normalise(h_BTD), routings

    def phase(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """What queries and keys at these positions are turned by, see `rotary_phase`; the same in every layer."""
        return rotary_phase(positions_T, self.spec.head_size, self.spec.rope_base, self.spec.rope_scaling)

    def embed(self, tokens: Tensor) -> Tensor:
        """Looked-up and scaled embeddings, [..., D]."""
        return nn.functional.embedding(tokens, self.embedding) * self.embedding_multiplier

    def normalise(self, h: Tensor) -> Tensor:
        """The final norm."""
        return rms_norm(h, self.final_norm, self.spec.norm_eps)

    @property
    def head_matrix(self) -> Tensor:
        """[V, D], the embedding itself where the head is tied."""
        return self.embedding if self.spec.tied_head else self.head

    def head_products(self, x: Tensor) -> Tensor:
        """`x` times every row of the head, [..., V]."""
        return x @ self.head_matrix.t()

    def logits(self, x: Tensor) -> Tensor:
        """fp32 logits [..., V] of normed hidden states."""
        logits = self.head_products(x).float() * self.logit_multiplier
        if self.spec.logit_softcap is not None:
            logits = self.spec.logit_softcap * torch.tanh(logits / self.spec.logit_softcap)
        return logits

    def _temperature(self, positions_T: Tensor, first_key_BT: Tensor | None) -> Tensor | None:
        """[B, T] or [1, T], see `attention_temperature`; documents packed apart count from their own beginnings."""
        positions_BT = positions_T[None] if first_key_BT is None else positions_T - first_key_BT
        return attention_temperature(positions_BT, self.spec.attention_temperature_length)

    def _key_mask(self, tokens_BT: Tensor, cache: KVCache | None) -> Tensor | None:
        """Which keys may be seen [B, S]; None when all may, which spares the masking."""
        if self.spec.pad_token is None:
            return None
        visible_BT = tokens_BT != self.spec.pad_token
        if cache is None:
            return None if bool(visible_BT.all()) else visible_BT
        end = cache.length + tokens_BT.shape[1]
        cache.seen[:, cache.length : end] = visible_BT
        seen = cache.seen[:, :end]
        return None if bool(seen.all()) else seen


def document_starts(tokens_BT: Tensor, start_token: int) -> Tensor:
    """For each position the place of the latest `start_token` at or before it, 0 before the first: int64 [B, T]."""
    places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    return torch.where(tokens_BT == start_token, places_T, 0).cummax(1).values
