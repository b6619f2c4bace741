"""Backward passes in two halves: gradients of inputs now, gradients of weights later.

A zero-bubble pipeline (https://arxiv.org/abs/2401.10241) asks for them apart. autograd does so for its own products; a
hand-written backward pass must look at what is asked for, or it computes everything twice.
"""

from __future__ import annotations

from typing import Any

import torch


def wanted(ctx: Any, *inputs: int) -> bool:
    """Whether this backward pass is asked for the gradient of any of these inputs: their numbers among the tensors."""
    return any(_asked_for(ctx.next_functions[index][0]) for index in inputs)


def _asked_for(node: Any) -> bool:
    if node is None:
        return False
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf whose gradient was asked for by name
        return True
