"""What each native kernel computes, in PyTorch: the definition its result is held against, and what serves without it.

Letters: T tokens, N outputs, K inputs, G groups of 32 inputs, D width, F expert width, E experts, k choices, H heads,
J key-value heads, S keys, C head size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lindos.kernels.packing import Packed
from lindos.kernels.quantising import grouped, weights_of

Activation = Literal["gelu_tanh", "silu"]
Precision = Literal["fp32", "int8", "bf16"]
"""What the inputs of a product are rounded to: fp32 is not at all, int8 is for weights that are whole numbers, and with
bf16 the weights, scales multiplied in, are rounded to it too."""


class PackedExpert(NamedTuple):
    """One expert: gate and up [F, D], down [D, F]."""

    gate: Packed
    up: Packed
    down: Packed


def rounded_inputs(x_TK: Tensor) -> Tensor:
    """Inputs as quantised products see them: groups of 32 in int8 with an fp32 scale max|x| / 127."""
    groups_TGW = grouped(x_TK)
    scales_TG1 = groups_TGW.abs().amax(-1, keepdim=True) / 127.0
    inverse = torch.where(scales_TG1 > 0, 1.0 / scales_TG1, torch.zeros_like(scales_TG1))
    whole = torch.round(groups_TGW * inverse).clamp(-127, 127)
    return (whole * scales_TG1).flatten(1)[:, : x_TK.shape[1]]


def multiply(x_TK: Tensor, matrix: Packed, inputs: Precision) -> Tensor:
    """x · matrix^T, fp32 [T, N], summed in fp32. With `inputs="int8"` they are rounded first where the weights are
    whole numbers, with `inputs="bf16"` inputs and weights are."""
    if inputs == "bf16":
        return x_TK.bfloat16().float() @ weights_of(matrix).bfloat16().float().t()
    if inputs == "int8" and matrix.format != "bf16":
        x_TK = rounded_inputs(x_TK)
    return x_TK @ weights_of(matrix).t()


def activate(x: Tensor, activation: Activation) -> Tensor:
    return functional.gelu(x, approximate="tanh") if activation == "gelu_tanh" else functional.silu(x)


def mix(
    x_TD: Tensor,
    experts: Sequence[PackedExpert] | Mapping[int, PackedExpert],
    chosen_Tk: Tensor,
    gates_Tk: Tensor,
    activation: Activation,
    inputs: Precision | Callable[[int], Precision],
) -> Tensor:
    """For each token the sum over its choices of gate * down(act(gate(x)) * up(x)), fp32 [T, D]; a choice below 0 is
    none. `inputs` may depend on how many tokens chose an expert."""
    out_TD = torch.zeros_like(x_TD)
    for e in sorted(set(chosen_Tk[chosen_Tk >= 0].tolist())):
        token_R, choice_R = torch.nonzero(chosen_Tk == e, as_tuple=True)
        x_RD = x_TD[token_R]
        rounding = inputs(len(x_RD)) if callable(inputs) else inputs
        h_RF = activate(multiply(x_RD, experts[e].gate, rounding), activation)
        y_RD = multiply(h_RF * multiply(x_RD, experts[e].up, rounding), experts[e].down, rounding)
        out_TD.index_add_(0, token_R, y_RD * gates_Tk[token_R, choice_R, None])
    return out_TD


def norm(x_TD: Tensor, scale_D: Tensor, eps: float) -> Tensor:
    """RMSNorm: x / sqrt(mean(x^2) + eps) * scale."""
    return x_TD * torch.rsqrt(x_TD.square().mean(-1, keepdim=True) + eps) * scale_D


def turn(x_THC: Tensor, cosines_TC: Tensor, sines_TC: Tensor) -> Tensor:
    """Rotary positions, rotate-half form."""
    low, high = x_THC.chunk(2, -1)
    return x_THC * cosines_TC[:, None] + torch.cat((-high, low), -1) * sines_TC[:, None]


def attend(
    q_THC: Tensor,
    k_JSC: Tensor,
    v_JSC: Tensor,
    *,
    scale: float,
    cap: float,
    temperature_T: Tensor | None,
    hidden_S: Tensor | None = None,
) -> Tensor:
    """softmax(temperature * cap(scale * q·k)) · v, causal, the last query at the last key; a cap of 0 is none.

    Scores of hidden keys are -1e30, so that a query that sees nothing else gathers all of them alike. Query head h
    reads key-value head h // (H / J). Returns [T, H, C].
    """
    tokens, heads, _ = q_THC.shape
    keys = k_JSC.shape[1]
    group = heads // k_JSC.shape[0]
    scores_HTS = torch.einsum("thc,hsc->hts", q_THC, k_JSC.repeat_interleave(group, 0)) * scale
    if cap:
        scores_HTS = cap * torch.tanh(scores_HTS / cap)
    if temperature_T is not None:
        scores_HTS = scores_HTS * temperature_T[:, None]
    if hidden_S is not None:
        scores_HTS = scores_HTS.masked_fill(hidden_S, -1e30)
    later_TS = torch.arange(keys) > torch.arange(keys - tokens, keys)[:, None]
    weights_HTS = scores_HTS.masked_fill(later_TS, -torch.inf).softmax(-1)
    return torch.einsum("hts,hsc->thc", weights_HTS, v_JSC.repeat_interleave(group, 0))


def choose(x_TD: Tensor, router_ED: Tensor, choices: int, *, cap: float, renormalise: bool) -> tuple[Tensor, Tensor]:
    """Softmax over all experts, then the best `choices`: their numbers and gates, [T, k] each, best first."""
    logits_TE = x_TD @ router_ED.t()
    if cap:
        logits_TE = cap * torch.tanh(logits_TE / cap)
    gates_Tk, chosen_Tk = logits_TE.softmax(-1).topk(choices, -1)
    return chosen_Tk, gates_Tk / gates_Tk.sum(-1, keepdim=True) if renormalise else gates_Tk
