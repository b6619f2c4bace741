"""Chains of element-wise work between the matrix products, each one function so that it can be fused into one pass.

Run plainly they are ordinary PyTorch. `fuse_elementwise` compiles them (with PyTorch's own compiler, which wants a C++
compiler on the machine): a trainer that lives for hours gains a few percent, a chat that starts in a second would lose.

Arithmetic is fp32 inside (fp64 for fp64 ends), results have the dtype of their inputs. What a chain made itself it may
overwrite, its inputs never: a pass over memory that is already in the cache costs half of one into new memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

P = ParamSpec("P")
R = TypeVar("R")
MASKED = -1e30
"""What a masked logit becomes, as in the release: finite, so that a row with no visible key stays finite."""


class Chain(Generic[P, R]):
    """A function that may be swapped for its compiled form."""

    known: list[Chain[Any, Any]] = []  # noqa: RUF012

    def __init__(self, plain: Callable[P, R]) -> None:
        self.plain = self.active = plain
        Chain.known.append(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.active(*args, **kwargs)


def fuse_elementwise(on: bool = True, device: torch.device | str = "cpu") -> bool:
    """Compile every chain (or go back to the plain ones). Returns whether they are compiled now."""
    able = on and _compiler_works(torch.device(device))
    if able:
        # Past this many shapes of one chain torch runs it unfused without a word; which ones those are would hang on
        # what a process happened to see first, and a resumed run would round otherwise than an undisturbed one.
        torch._dynamo.config.recompile_limit = 64
    for chain in Chain.known:
        chain.active = torch.compile(chain.plain) if able else chain.plain
    return able


def _compiler_works(device: torch.device) -> bool:
    """Whether something small can be compiled: it takes a C++ compiler and Python's headers, and torch finds them."""
    try:
        torch.compile(lambda x: (x * 2).exp())(torch.zeros(8, device=device))
    except Exception:  # noqa: BLE001 - a missing compiler shows itself in many ways, and none of them matters
        return False
    return True


def wide_dtype(x: Tensor) -> torch.dtype:
    """fp32, or wider where `x` is."""
    return torch.promote_types(x.dtype, torch.float32)


@Chain
def norm_forward(x_TD: Tensor, scale_D: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(normed x, 1/rms [T, 1])."""
    wide = x_TD.to(wide_dtype(x_TD))
    inverse_T1 = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * inverse_T1).mul_(scale_D).to(x_TD.dtype), inverse_T1


@Chain
def norm_backward(dy_TD: Tensor, x_TD: Tensor, scale_D: Tensor, inverse_T1: Tensor) -> tuple[Tensor, Tensor]:
    """(dx, n * dy whose sum over tokens is the gradient of the scale)."""
    n_TD = x_TD * inverse_T1
    dscale_TD = n_TD * dy_TD
    mean_T1 = (dscale_TD * scale_D).mean(-1, keepdim=True)
    dx_TD = (dy_TD * scale_D).addcmul_(n_TD, mean_T1, value=-1).mul_(inverse_T1)
    return dx_TD.to(x_TD.dtype), dscale_TD


@Chain
def rotate_pairs(x_THC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    """x * cos + rotate_half(x) * sin, per head."""
    wide = x_THC.to(wide_dtype(x_THC))
    left, right = wide.chunk(2, dim=-1)
    sin_left, sin_right = sin_TC[..., None, :].chunk(2, dim=-1)
    turned = wide * cos_TC[..., None, :]
    turned_left, turned_right = turned.chunk(2, dim=-1)
    turned_left.addcmul_(right, sin_left, value=-1)
    turned_right.addcmul_(left, sin_right)
    return turned.to(x_THC.dtype)


@Chain
def gated_forward(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    """act(gate) * up."""
    wide = gate.to(wide_dtype(gate))
    bent = functional.gelu(wide, approximate="tanh") if activation == "gelu_tanh" else functional.silu(wide)
    return (bent * up).to(gate.dtype)


@Chain
def gated_backward(dh: Tensor, gate: Tensor, up: Tensor, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """(d gate, d up, and act(gate) * up once more, which costs less to repeat than to keep)."""
    wide, dh_wide = gate.to(wide_dtype(gate)), dh.to(wide_dtype(dh))
    if activation == "gelu_tanh":
        bent = functional.gelu(wide, approximate="tanh")
        dgate = torch.ops.aten.gelu_backward(dh_wide * up, wide, approximate="tanh")
    else:
        bent = functional.silu(wide)
        dgate = torch.ops.aten.silu_backward(dh_wide * up, wide)
    return dgate.to(gate.dtype), (dh_wide * bent).to(gate.dtype), (bent * up).to(gate.dtype)


@Chain
def attention_weights(
    logits_NRS: Tensor,
    last_R: Tensor,
    first_NR: Tensor | None,
    mask_NS: Tensor | None,
    temperature_NR: Tensor | None,
    multiplier: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """(softmax of the scaled, capped, causally masked logits; tanh of the scaled logits, or empty without a cap).

    Row r sees the keys up to and with `last_R[r]`, in sequence n only from `first_NR[n, r]` on. `temperature_NR`
    multiplies a row's capped logits.
    """
    logits = logits_NRS.to(wide_dtype(logits_NRS))
    keys_S = torch.arange(logits.shape[-1], device=logits.device)
    # Beside -1e30 a logit does not count: adding it is masking, and scales the logits in the same pass.
    masked_RS = torch.where(keys_S > last_R[:, None], MASKED, 0.0).to(logits.dtype)
    if softcap is None:
        tanh, capped = logits_NRS.new_empty(0), torch.add(masked_RS, logits, alpha=multiplier)
    else:
        bent = (logits * (multiplier / softcap)).tanh_()
        tanh, capped = bent.to(logits_NRS.dtype), torch.add(masked_RS, bent, alpha=softcap)
    if temperature_NR is not None:
        capped = capped.mul_(temperature_NR[..., None])
    if first_NR is not None:
        capped = torch.where(keys_S < first_NR[..., None], MASKED, capped)
    if mask_NS is not None:
        capped = torch.where(mask_NS[:, None], capped, MASKED)
    return torch.softmax(capped, -1).to(logits_NRS.dtype), tanh


@Chain
def masked_scores(
    logits_NRS: Tensor,
    last_R: Tensor,
    first_NR: Tensor | None,
    mask_NS: Tensor | None,
    temperature_NR: Tensor | None,
    multiplier: float,
    softcap: float | None,
) -> Tensor:
    """The scaled, capped, causally masked logits themselves, fp32; arguments as for `attention_weights`."""
    scores = logits_NRS.to(wide_dtype(logits_NRS)) * multiplier
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if temperature_NR is not None:
        scores = scores.mul_(temperature_NR[..., None])
    keys_S = torch.arange(scores.shape[-1], device=scores.device)
    hidden = keys_S > last_R[:, None]
    if first_NR is not None:
        hidden = hidden | (keys_S < first_NR[..., None])
    if mask_NS is not None:
        hidden = hidden | ~mask_NS[:, None]
    return scores.masked_fill_(hidden, MASKED)


@Chain
def score_weights(scores_NRS: Tensor, norms_NR: Tensor) -> Tensor:
    """What each key weighs in a row, from its score and the row's log-normaliser; fp32."""
    return torch.exp(scores_NRS - norms_NR[..., None])


@Chain
def score_weights_backward(
    dweights: Tensor,
    weights: Tensor,
    scores: Tensor,
    delta_NR: Tensor,
    temperature_NR: Tensor | None,
    softcap: float | None,
) -> Tensor:
    """d logits, but for the multiplier, from d weights; `delta` is each row's sum of weights * dweights."""
    wide = wide_dtype(weights)
    ds = (dweights.to(wide) - delta_NR[..., None]).mul_(weights)
    if softcap is not None:
        # A masked score is no tanh of anything, but its weight is 0; the bound keeps the square finite.
        capped = scores if temperature_NR is None else scores / temperature_NR[..., None]
        ds = torch.ops.aten.tanh_backward(ds, (capped / softcap).clamp_(min=-1.0))
    if temperature_NR is not None:
        ds = ds.mul_(temperature_NR[..., None])
    return ds.to(weights.dtype)


@Chain
def attention_weights_backward(
    dp: Tensor, p: Tensor, tanh: Tensor, temperature_NR: Tensor | None, capped: bool
) -> Tensor:
    """d logits, but for the multiplier: softmax backward, the temperature, then 1 - tanh^2 for the cap."""
    wide_p, wide_dp = p.to(wide_dtype(p)), dp.to(wide_dtype(dp))
    ds = torch.ops.aten._softmax_backward_data(wide_dp, wide_p, -1, wide_p.dtype)
    if temperature_NR is not None:
        ds = ds.mul_(temperature_NR[..., None])
    if capped:
        ds = torch.ops.aten.tanh_backward(ds, tanh.to(ds.dtype))
    return ds.to(p.dtype)


@Chain
def head_loss(
    logits_TV: Tensor, targets_T: Tensor, weight: float, multiplier: float, softcap: float | None, z_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(summed cross-entropy, summed loss with z-loss, d loss / d logits), each times `weight`; sums in fp32.

    The loss of a token is log-normaliser - logit of its target + z_weight * log-normaliser^2; a row whose target is
    negative has none.
    """
    logits = logits_TV.to(wide_dtype(logits_TV)) * multiplier
    bent = None
    if softcap is not None:
        bent = logits.div_(softcap).tanh_()
        logits = bent * softcap
    target_T1 = targets_T.clamp(min=0)[:, None]
    weight_T1 = (targets_T >= 0).to(logits.dtype)[:, None] * weight
    log_TV = torch.log_softmax(logits, -1)
    norm_T1 = logits[:, :1] - log_TV[:, :1]
    text_T1 = -log_TV.gather(1, target_T1)
    rise_T1, slope_T1 = 1 + 2 * z_weight * norm_T1, multiplier * weight_T1
    # The target's gradient is put in its place afterwards: subtracting an array of zeros and ones costs three passes.
    dtarget_T1 = (torch.exp(-text_T1) * rise_T1 - 1) * slope_T1
    d = log_TV.exp_().mul_(rise_T1 * slope_T1)
    if bent is not None:
        d = torch.ops.aten.tanh_backward(d, bent)
        dtarget_T1 = torch.ops.aten.tanh_backward(dtarget_T1, bent.gather(1, target_T1))
    d = d.to(logits_TV.dtype).scatter_(1, target_T1, dtarget_T1.to(logits_TV.dtype))
    text_T1, z_T1 = text_T1 * weight_T1, z_weight * norm_T1.square() * weight_T1
    return text_T1.sum(), (text_T1 + z_T1).sum(), d
