"""What a backward pass makes again: the same gradients, less kept, and nothing that keeps itself."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import Tensor

from lindos.train.parallel.again import Again


def test_what_is_made_again_gives_the_same_gradients_once_for_all_that_want_it():
    torch.manual_seed(0)
    x, a, b = (torch.randn(5, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    made = 0

    def twice(x: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return x * 2

    def plain(x: Tensor) -> Tensor:
        y = twice(x)
        return (y @ a).sin() + y @ b

    expected = torch.autograd.grad(plain(x).sum(), (x, a, b))
    again = Again()
    noted = again.noting(twice)
    out = again.around(lambda x: (lambda y: (y @ a).sin() + y @ b)(noted(x)))(x)
    assert not again._made
    before = made
    found = torch.autograd.grad(out.sum(), (x, a, b))
    assert made == before + 1
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_an_operation_that_keeps_its_own_result_does_not_keep_itself():
    again = Again()
    x = torch.ones(4, requires_grad=True)
    y = again.around(lambda x: torch.softmax(x * 2, 0))(x)
    gone = weakref.ref(y)
    del y
    gc.collect()
    assert gone() is None


def test_nothing_is_noted_without_gradients():
    again = Again()
    with torch.no_grad():
        made = again.noting(lambda x: x * 2)(torch.ones(3))
    assert not again._made
    assert torch.equal(again.way_to(made)(), made)
