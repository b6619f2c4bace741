"""Weights, gradients and optimiser state divided over ranks, by PyTorch's FSDP2 (ZeRO, https://arxiv.org/abs/1910.02054).

Norms and routers, which are small and computed with in fp32, stay whole on every rank.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard

from lindos.specs import Layout
from lindos.train.parallel.mesh import Mesh
from lindos.train.parallel.pieces import Piece, small_weights
from lindos.train.stage import Stage


def shard_dimension(shape: tuple[int, ...], shards: int) -> int:
    """The dimension to divide: the first that divides evenly, so that every rank holds as much as the others.

    A stack of experts is divided by its rows where there are fewer experts than ranks.
    """
    even = (dim for dim, size in enumerate(shape) if size % shards == 0)
    return next(even, 0)


def shard_weights(stage: Stage, mesh: Mesh, layout: Layout, dtype: torch.dtype, pieces: dict[str, Piece]) -> None:
    """Apply FSDP to every layer and to the ends; `pieces` then say what of each weight this rank keeps."""
    small = set(small_weights(stage).values())
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    dense = mesh.device_mesh(mesh.dense_copies, mesh.dense_shards)
    whole_experts = mesh.device_mesh(mesh.expert_copies, mesh.expert_shards) if layout.expert > 1 else dense
    free = layout.sharding == "weights" and layout.pipeline == 1

    def apply(module: nn.Module, device_mesh: DeviceMesh, frees: bool) -> None:
        fully_shard(
            module,
            mesh=device_mesh,
            reshard_after_forward=frees,
            shard_placement_fn=lambda p: Shard(shard_dimension(tuple(p.shape), device_mesh.size(-1))),
            mp_policy=policy,
            ignored_params=small,
        )

    for name, piece in pieces.items():
        if len(piece.shape) > 1 and not name.endswith("router"):
            group = mesh.expert_shards if layout.expert > 1 and ".experts." in name else mesh.dense_shards
            pieces[name] = piece.cut(shard_dimension(piece.local_shape, group.size), group)
    for block in stage.blocks():
        if block.experts is not None and layout.expert > 1:
            apply(block.experts, whole_experts, free)
        apply(block, dense, free)
    apply(stage, dense, False)
    for module in stage.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
