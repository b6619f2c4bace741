"""AdamW and Muon over fp32 masters of bf16 weights.

The network holds bf16 (or fp32) weights; gradients are summed over micro-batches in fp32, masters are updated in
fp32 and cast back. With Muon the matrices inside layers move by the nearest orthogonal matrix of their momentum
(Jordan et al., https://kellerjordan.github.io/posts/muon/), experts one by one; embedding, router and norms stay with
AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from lindos.model.hardware import product_dtype
from lindos.train.checkpoint import Part
from lindos.train.run_file import OptimizerSection

State = dict[str, Tensor]


class Weights(Protocol):
    """What an optimiser moves: fp32 masters and the sum of their gradients since the last step, by name."""

    masters: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def part(self, name: str, tensor: Tensor) -> Part:
        """What a checkpoint keeps of something of a weight's (its master, its momentum)."""
        ...

    def whole(self, name: str, tensor: Tensor) -> Tensor:
        """The whole matrix (or whole ones of a stack) of which a rank has `tensor`."""
        ...

    def own(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of what `whole` gave."""
        ...

    def publish(self) -> None:
        """Have the network compute with the masters as they are now."""
        ...

    def clear(self) -> None:
        """Forget the gradients."""
        ...

    def norm(self) -> Tensor:
        """Norm of the whole gradient."""
        ...

    def not_finite(self) -> list[str]:
        """Names of the tensors whose gradient holds an infinity or NaN."""
        ...


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

    def part(self, name: str, tensor: Tensor) -> Part:
        """What a checkpoint keeps of something of a weight's: all of it."""
        return Part(tensor, tuple(tensor.shape), (0,) * tensor.ndim)

    def whole(self, name: str, tensor: Tensor) -> Tensor:
        """A process alone has whole matrices."""
        return tensor

    def own(self, name: str, whole: Tensor) -> Tensor:
        """All of it."""
        return whole

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

    def __init__(self, master: Weights, settings: OptimizerSection) -> None:
        self.master, self.settings = master, settings
        self.state: State = {}
        for name, weight in master.masters.items():
            for kind in state_kinds(name, weight.ndim, settings):
                self.state[f"{name}.{kind}"] = torch.zeros_like(weight)

    @torch.no_grad()
    def step(self, step: int, rate: float, *, norm: float | None = None) -> float:
        """Clip, update, publish, clear. `step` counts from 0, `rate` is the schedule's share. Returns the norm, which a
        caller may know already."""
        norm = float(self.master.norm()) if norm is None else norm
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
        ahead = self.master.whole(name, ahead)
        rows, columns = ahead.shape[-2:]
        weight.add_(self.master.own(name, orthogonalise(ahead)), alpha=-lr * math.sqrt(max(1.0, columns / rows)))

    def parts(self) -> dict[str, Part]:
        """Masters and state by the names a checkpoint knows them under."""
        found = {f"master.{name}": self.master.part(name, each) for name, each in self.master.masters.items()}
        for name, each in self.state.items():
            found[f"state.{name}"] = self.master.part(name.rpartition(".")[0], each)
        return found


def state_kinds(name: str, dimensions: int, settings: OptimizerSection) -> tuple[str, ...]:
    """What the optimiser keeps of a weight: Muon its momentum, AdamW both moments."""
    inside = name.startswith("layers.") and not name.endswith("router")
    return ("momentum",) if settings.kind == "muon" and inside and dimensions >= 2 else ("first", "second")


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
