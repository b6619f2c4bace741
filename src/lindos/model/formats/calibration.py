"""Rounding to int4 by what the matrices are multiplied with: errors of some inputs are made good by others.

Columns are rounded one after the other; each one's error is spread over those still to come so that the outputs on the
text of calibration change least (GPTQ, Frantar et al. 2022, arXiv:2210.17323), and each group's scale is searched for
when its first column is come to. It takes the model in fp32 and a square of each matrix's inputs in memory.

Letters: T tokens, N outputs, K inputs, D width, E experts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lindos.kernels import available_memory
from lindos.kernels.packing import GROUP, Quantised
from lindos.kernels.quantising import grouped, searched
from lindos.model.elementwise import gated_forward
from lindos.model.experts import Routing
from lindos.model.formats.source import FormatError
from lindos.model.transformer import Transformer
from lindos.specs import ModelSpec

DAMPING = 0.01
"""Share of the mean square added to each input's, so that inputs seen too seldom carry no errors."""
Moments = dict[str, Tensor]
"""Sums over tokens of x x^T, fp32 [K, K], by what is multiplied: `layers.0.attention.in`, `layers.0.experts.down.3`."""


def moments_for(moments: Moments, name: str, number: int) -> Tensor:
    """Of the inputs of one of Lindos's tensors, or of its expert `number`."""
    parent, part = name.rsplit(".", 1)
    key = f"{parent}.{part if part in ('output', 'down') else 'in'}"
    return moments[f"{key}.{number}" if parent.endswith(".experts") else key]


def moments_digest(moments: Moments) -> str:
    """A few hex digits that tell moments of other text or another model apart."""
    found = hashlib.sha256()
    for name in sorted(moments):
        found.update(f"{name} {float(moments[name].diagonal().double().sum()):.6e}\n".encode())
    return found.hexdigest()[:16]


def require_memory(spec: ModelSpec) -> None:
    """Raise FormatError where model and moments would not fit into this machine's memory."""
    inner = spec.heads * spec.head_size
    squares = spec.width**2 * (spec.experts + 1) + inner**2 + spec.experts * spec.expert_width**2
    squares += (spec.width**2 + spec.shared_width**2) if spec.shared_width else 0
    need, free = 4 * (spec.parameters + spec.layers * squares), available_memory()
    if need > free:
        raise FormatError(
            f"{spec.name}: calibrated rounding takes {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; "
            "--rounding search needs no calibration and next to no memory"
        )


@torch.inference_mode()
def measure_moments(
    model: Transformer, windows: Sequence[Sequence[int]], progress: Callable[[int, int], None] | None = None
) -> Moments:
    """Run runs of tokens through a model and add up what each matrix is multiplied with."""
    moments: Moments = {}

    def add(name: str, x: Tensor) -> None:
        x_TK = x.flatten(0, -2).float()
        moments[name] = moments.get(name, torch.zeros(x_TK.shape[1], x_TK.shape[1])) + x_TK.t() @ x_TK

    with _watched(model, add):
        for number, window in enumerate(windows):
            model.hidden(torch.tensor([list(window)]))
            if progress is not None:
                progress(number + 1, len(windows))
    for name, parameter in model.named_parameters():  # experts that no token chose
        if parameter.ndim == 3:
            for number in range(parameter.shape[0]):
                key = f"{name.rsplit('.', 1)[0]}.{'down' if name.endswith('down') else 'in'}.{number}"
                moments.setdefault(key, torch.zeros(parameter.shape[1], parameter.shape[1]))
    return moments


@contextmanager
def _watched(model: Transformer, add: Callable[[str, Tensor], None]) -> Iterator[None]:
    """What each matrix is multiplied with is handed to `add`."""
    layers: list[Any] = list(model.layers)
    for index, layer in enumerate(layers):
        _watch(layer, f"layers.{index}", add)
    try:
        yield
    finally:
        for layer in layers:
            for part, method in ((layer.attention, "project"), (layer.attention, "finish"), (layer.experts, "forward")):
                delattr(part, method)
            if layer.shared is not None:
                del layer.shared.forward


def _watch(layer: Any, name: str, add: Callable[[str, Tensor], None]) -> None:
    attention, experts, shared = layer.attention, layer.experts, layer.shared
    project, finish, mix = attention.project, attention.finish, experts.forward

    def watched_project(x: Tensor, *rest: Any) -> Any:
        add(f"{name}.attention.in", x)
        return project(x, *rest)

    def watched_finish(o: Tensor) -> Tensor:
        add(f"{name}.attention.output", o.flatten(-2))
        return finish(o)

    def watched_mix(x_TD: Tensor, routing: Routing) -> Any:
        chosen_Tk = routing.chosen
        for number in sorted(set(chosen_Tk.flatten().tolist())):
            some_TD = x_TD[(chosen_Tk == number).any(-1)]
            add(f"{name}.experts.in.{number}", some_TD)
            gated = gated_forward(some_TD @ experts.gate[number], some_TD @ experts.up[number], experts.spec.activation)
            add(f"{name}.experts.down.{number}", gated)
        return mix(x_TD, routing)

    attention.project, attention.finish, experts.forward = watched_project, watched_finish, watched_mix
    if shared is not None:
        branch = shared.forward

        def watched_branch(x_TD: Tensor) -> Tensor:
            add(f"{name}.shared.in", x_TD)
            add(f"{name}.shared.down", gated_forward(x_TD @ shared.gate, x_TD @ shared.up, shared.activation))
            return branch(x_TD)

        shared.forward = watched_branch


def compensated(weights_NK: Tensor, moments_KK: Tensor) -> Quantised:
    """int4 values and scales whose products with inputs of these moments are nearest to the weights' own."""
    rows, columns = weights_NK.shape
    left_NK = weights_NK.float().clone()
    spread_KK = _spread(moments_KK)
    values_NK = torch.zeros(rows, columns, dtype=torch.int8)
    scales = []
    for start in range(0, columns, GROUP):
        stop = min(start + GROUP, columns)
        groups_NGW = grouped(left_NK[:, start:stop])
        largest = groups_NGW.abs().argmax(-1, keepdim=True)
        scale_N = searched(groups_NGW, groups_NGW.gather(-1, largest).squeeze(-1))[:, 0]
        scales.append(scale_N)
        inverse_N = torch.where(scale_N == 0, torch.zeros_like(scale_N), 1.0 / scale_N)
        errors_NW = torch.empty(rows, stop - start)
        for column in range(start, stop):
            whole_N = torch.floor(left_NK[:, column] * inverse_N + 8.5).clamp(0, 15) - 8
            values_NK[:, column] = whole_N.to(torch.int8)
            error_N = (left_NK[:, column] - whole_N * scale_N) / spread_KK[column, column]
            left_NK[:, column:stop] -= error_N[:, None] * spread_KK[column, column:stop]
            errors_NW[:, column - start] = error_N
        left_NK[:, stop:] -= errors_NW @ spread_KK[start:stop, stop:]
    return Quantised(values_NK.numpy(), torch.stack(scales, 1).to(torch.float16).numpy())


def _spread(moments_KK: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped moments' inverse: how an input's error is made good by later ones."""
    damped_KK = moments_KK.double().clone()
    diagonal_K = damped_KK.diagonal()
    diagonal_K[diagonal_K == 0] = 1.0
    diagonal_K += DAMPING * diagonal_K.mean()
    inverse_KK = torch.cholesky_inverse(torch.linalg.cholesky(damped_KK))
    return torch.linalg.cholesky(inverse_KK, upper=True).float()
