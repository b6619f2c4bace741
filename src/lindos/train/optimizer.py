"""AdamW and Muon over fp32 masters of bf16 weights.

The network holds bf16 (or fp32) weights; gradients are summed over micro-batches in fp32, masters are updated in
fp32 and cast back. With Muon the matrices inside layers move by the nearest orthogonal matrix of their momentum
(Jordan et al., https://kellerjordan.github.io/posts/muon/), experts one by one; embedding, router and norms stay with
AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lindos.model.hardware import product_dtype
from lindos.train.run_file import OptimizerSection

State = dict[str, Tensor]


class MasterWeights:
    """fp32 copies of a model's weights, and the fp32 sum of the gradients since the last step.

    Gradients are moved out of `.grad` as soon as autograd has them, so that a bf16 sum never rounds away small parts.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = dict(model.named_parameters())
        self.masters = {n: p.detach().to(torch.float32, copy=True) for n, p in self.weights.items()}
        self.gradients = {n: torch.zeros_like(m) for n, m in self.masters.items()}
        for name, parameter in self.weights.items():
            parameter.register_post_accumulate_grad_hook(self._collector(name))

    def _collector(self, name: str):
        gradient = self.gradients[name]

        def collect(parameter: Tensor) -> None:
            assert parameter.grad is not None
            gradient.add_(parameter.grad)
            parameter.grad = None

        return collect

    def publish(self) -> None:
        """Cast the masters back into the model."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.masters[name])

    def clear(self) -> None:
        for gradient in self.gradients.values():
            gradient.zero_()

    def norm(self) -> Tensor:
        """Norm of the whole gradient."""
        return torch.stack([g.norm() for g in self.gradients.values()]).norm()

    def not_finite(self) -> list[str]:
        """Names of the tensors whose gradient holds an infinity or NaN."""
        return [n for n, g in self.gradients.items() if not bool(torch.isfinite(g).all())]


class Optimizer:
    """One step over all masters; `state` is everything a checkpoint must hold besides them."""

    def __init__(self, master: MasterWeights, settings: OptimizerSection) -> None:
        self.master, self.settings = master, settings
        self.state: State = {}
        for name, weight in master.masters.items():
            if self._by_muon(name, weight):
                self.state[f"{name}.momentum"] = torch.zeros_like(weight)
            else:
                self.state[f"{name}.first"] = torch.zeros_like(weight)
                self.state[f"{name}.second"] = torch.zeros_like(weight)

    def _by_muon(self, name: str, weight: Tensor) -> bool:
        inside = name.startswith("layers.") and not name.endswith("router")
        return self.settings.kind == "muon" and inside and weight.ndim >= 2

    @torch.no_grad()
    def step(self, step: int, rate: float) -> float:
        """Clip, update, publish, clear. `step` counts from 0, `rate` is the schedule's share. Returns the norm."""
        norm = float(self.master.norm())
        clip = min(1.0, self.settings.clip / (norm + 1e-6))
        for name, weight in self.master.masters.items():
            gradient = self.master.gradients[name].mul_(clip)
            if f"{name}.momentum" in self.state:
                self._muon(name, weight, gradient, rate)
            else:
                self._adamw(name, weight, gradient, rate, step)
        self.master.publish()
        self.master.clear()
        return norm

    def _adamw(self, name: str, weight: Tensor, gradient: Tensor, rate: float, step: int) -> None:
        first, second = self.state[f"{name}.first"], self.state[f"{name}.second"]
        beta1, beta2 = self.settings.betas
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        lr = self.settings.lr * rate
        if weight.ndim >= 2 and not name.endswith("router"):
            weight.mul_(1 - lr * self.settings.weight_decay)
        root = (second / (1 - beta2 ** (step + 1))).sqrt_().add_(self.settings.eps)
        weight.addcdiv_(first, root, value=-lr / (1 - beta1 ** (step + 1)))

    def _muon(self, name: str, weight: Tensor, gradient: Tensor, rate: float) -> None:
        momentum = self.state[f"{name}.momentum"]
        momentum.lerp_(gradient, 1 - self.settings.momentum)
        ahead = gradient.lerp(momentum, self.settings.momentum)  # Nesterov
        lr = self.settings.matrix_lr * rate
        weight.mul_(1 - lr * self.settings.weight_decay)
        rows, columns = weight.shape[-2:]
        weight.add_(orthogonalise(ahead), alpha=-lr * math.sqrt(max(1.0, columns / rows)))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Masters and state by the names a checkpoint knows them under."""
        yield from ((f"master.{n}", t) for n, t in self.master.masters.items())
        yield from ((f"state.{n}", t) for n, t in self.state.items())


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Approximately U·V^T of the singular value decomposition of each [..., in, out] matrix, in
    bf16 where the machine multiplies it at speed (the iteration forgives rounding), else in fp32.

    Newton-Schulz with the quintic coefficients of Muon's authors: singular values end between about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = (matrix.mT if tall else matrix).to(product_dtype(matrix.device))
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-7).to(x.dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        mixed = b * gram + c * (gram @ gram)
        x = a * x + mixed @ x
    return (x.mT if tall else x).float()
