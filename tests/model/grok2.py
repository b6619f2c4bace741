"""Grok-2 at a small size, written for reading: what SGLang's models/grok.py computes, position by position."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from lindos.model import Transformer
from lindos.specs import ModelSpec
from tests.model.checkpoints import random_model


def grok2_spec(**changes: Any) -> ModelSpec:
    """Grok-2 in small; caps and temperature so tight that leaving one out is seen."""
    fields: dict[str, Any] = {
        "name": "grok-2-tiny", "layers": 2, "width": 24, "vocabulary": 61, "sequence": 128, "heads": 4, "kv_heads": 2,
        "head_size": 8, "experts": 4, "experts_per_token": 2, "expert_width": 20, "shared_width": 36,
        "shared_multiplier": 2**-0.5, "embedding_multiplier": 24**0.5, "logit_multiplier": 0.5,
        "attention_softcap": 2.0, "router_softcap": 1.5, "logit_softcap": 3.0, "attention_temperature_length": 9,
        "rope_base": 208533496.0, "tied_head": False, "kind": "chat",
    }  # fmt: skip
    return ModelSpec(**(fields | changes))


def grok2_model(seed: int = 0, **changes: Any) -> Transformer:
    """Random weights, and routers that choose."""
    model = random_model(grok2_spec(**changes), seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("router"):
                parameter.mul_(20)
    return model


def reference_logits(w: dict[str, Tensor], spec: ModelSpec, tokens_T: Tensor) -> Tensor:
    """[T, V] of one sequence from weights in Lindos's names ([in, out], used as x @ w)."""
    h = w["embedding"][tokens_T] * spec.embedding_multiplier
    for n in range(spec.layers):
        layer = {key.removeprefix(f"layers.{n}."): value for key, value in w.items() if key.startswith(f"layers.{n}.")}
        attended = _attention(layer, spec, _norm(h, layer["norm_attention_in"], spec))
        h = h + _norm(attended, layer["norm_attention_out"], spec)
        x = _norm(h, layer["norm_experts_in"], spec)
        shared = _mlp(x, *(layer[f"shared.{part}"] for part in ("gate", "up", "down")))
        both = (shared + _experts(layer, spec, x)) / 2**0.5
        h = h + _norm(both, layer["norm_experts_out"], spec)
    logits = _norm(h, w["final_norm"], spec) @ w["head"].T * spec.logit_multiplier
    return _cap(logits, spec.logit_softcap)


def _norm(x: Tensor, scale: Tensor, spec: ModelSpec) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + spec.norm_eps).sqrt() * scale


def _cap(x: Tensor, cap: float | None) -> Tensor:
    assert cap is not None
    return cap * torch.tanh(x / cap)


def _mlp(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return (gelu(x @ gate, approximate="tanh") * (x @ up)) @ down


def _experts(layer: dict[str, Tensor], spec: ModelSpec, x: Tensor) -> Tensor:
    """Cap, softmax over all, the best two; their probabilities are the gates as they are."""
    rows = []
    for row in x:
        probabilities = torch.softmax(_cap(row @ layer["experts.router"], spec.router_softcap), -1)
        chosen = sorted(range(spec.experts), key=lambda e, p=probabilities: -float(p[e].detach()))[
            : spec.experts_per_token
        ]
        parts = [
            probabilities[e] * _mlp(row, *(layer[f"experts.{part}"][e] for part in ("gate", "up", "down")))
            for e in chosen
        ]
        rows.append(torch.stack(parts).sum(0))
    return torch.stack(rows)


def _attention(layer: dict[str, Tensor], spec: ModelSpec, x: Tensor) -> Tensor:
    size, group = spec.head_size, spec.heads // spec.kv_heads
    heads = []
    for head in range(spec.heads):
        own, shared = slice(head * size, (head + 1) * size), slice(head // group * size, (head // group + 1) * size)
        q = _turned(x @ layer["attention.query"][:, own], spec)
        k = _turned(x @ layer["attention.key"][:, shared], spec)
        v = x @ layer["attention.value"][:, shared]
        rows = []
        for position in range(len(x)):
            scores = _cap(k[: position + 1] @ q[position] / size**0.5, spec.attention_softcap)
            if position > spec.attention_temperature_length:
                scores = scores * math.log2(position) / math.log2(spec.attention_temperature_length)
            rows.append(torch.softmax(scores, -1) @ v[: position + 1])
        heads.append(torch.stack(rows))
    return torch.cat(heads, -1) @ layer["attention.output"]


def _turned(x: Tensor, spec: ModelSpec) -> Tensor:
    half = spec.head_size // 2
    frequencies = torch.tensor([spec.rope_base ** (-2 * i / spec.head_size) for i in range(half)])
    angles = torch.outer(torch.arange(len(x), dtype=torch.float32), frequencies)
    left, right = x[:, :half], x[:, half:]
    return torch.cat((left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()), -1)
