"""Who works with whom: the process groups of a layout, as one rank sees them.

Ranks are numbered with tensor innermost, then context, shards, replicas, and pipeline outermost, as the planner counts
them: small and talkative groups lie within a machine. A rank opens only the groups that it is in, so that opening them
takes as long on a hundred thousand ranks as on eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from lindos.specs import Layout, SpecError


@dataclass(frozen=True)
class Group:
    """Ranks that exchange something; `index` is this rank's place among them."""

    name: str
    ranks: tuple[int, ...]
    index: int
    handle: dist.ProcessGroup | None = None
    """None where the rank is alone."""

    @property
    def size(self) -> int:
        return len(self.ranks)


@dataclass(frozen=True)
class Place:
    """Where a rank stands, each from 0."""

    pipeline: int
    replica: int
    shard: int
    context: int
    tensor: int


def place_of(rank: int, layout: Layout) -> Place:
    """The place of a rank in a layout."""
    rest, tensor = divmod(rank, layout.tensor)
    rest, context = divmod(rest, layout.context)
    rest, shard = divmod(rest, layout.shards)
    pipeline, replica = divmod(rest, layout.replicas)
    return Place(pipeline, replica, shard, context, tensor)


def rank_of(place: Place, layout: Layout) -> int:
    """The rank that stands there."""
    data = (place.pipeline * layout.replicas + place.replica) * layout.shards + place.shard
    return (data * layout.context + place.context) * layout.tensor + place.tensor


_AXES = ("pipeline", "replica", "shard", "context", "tensor")


class Mesh:
    """All groups of this rank. Made once a process, after `init_process_group`; a world of one needs none."""

    def __init__(self, layout: Layout, *, device: str = "cpu") -> None:
        """Raises SpecError where the layout's world is not the number of processes, or its experts do not divide."""
        world = dist.get_world_size() if dist.is_initialized() else 1
        if layout.world != world:
            raise SpecError(
                f"layout: replicas * shards * tensor * pipeline * context = {layout.world}, but {world} processes run"
            )
        self.layout, self.device = layout, device
        self.rank = dist.get_rank() if world > 1 else 0
        self.place = place_of(self.rank, layout)
        everybody = dist.distributed_c10d._get_default_group() if world > 1 else None
        self.world = Group("world", tuple(range(world)), self.rank, everybody)
        # In one order on all ranks: a group opens when all its members come to it.
        self.tensor = self._along("tensor", "tensor")
        self.context = self._along("context", "context")
        self.sequence = self._along("sequence", "context", "tensor")
        """Those who share one micro-batch's tokens."""
        self.data = self._along("data", "replica", "shard")
        """Those who see different sequences and stand in the same place otherwise."""
        self.pipeline = self._along("pipeline", "pipeline")
        self.ends = self._ends()
        """The first and the last stage in this rank's place: they share the embedding where the head is tied to it."""
        self.stage = self._along("stage", "replica", "shard", "context", "tensor")
        self.expert = self._expert()
        """Those who hold the experts of a layer between them."""
        self.dense_copies, self.dense_shards = self._dense()
        """Of weights that are no experts: those who hold the same part, and those who hold the other parts."""
        self.expert_copies, self.expert_shards = self._experts()

    @property
    def data_index(self) -> int:
        """Which of the ranks that see different sequences this one is."""
        return self.place.replica * self.layout.shards + self.place.shard

    def device_mesh(self, copies: Group, shards: Group) -> DeviceMesh:
        """Two groups as FSDP wants them: [shards], or [copies, shards] where there are several copies."""
        inner = shards.handle or _open(shards.ranks)
        if copies.size == 1:
            return DeviceMesh.from_group(inner, self.device, mesh_dim_names=("shards",))
        grid = [[copy - self.rank + shard for shard in shards.ranks] for copy in copies.ranks]
        outer = copies.handle or _open(copies.ranks)
        names = ("copies", "shards")
        return DeviceMesh.from_group([outer, inner], self.device, mesh=torch.tensor(grid), mesh_dim_names=names)

    def _dense(self) -> tuple[Group, Group]:
        if self.layout.sharding == "none":
            return self._along("copies", "replica", "shard", "context"), self._group("shards", [self.rank])
        return self._along("copies", "replica"), self._along("shards", "shard", "context")

    def _expert(self) -> Group:
        degree = self.layout.expert
        first = self.stage.ranks[0] + self.stage.index // degree * degree
        return self._group("expert", range(first, first + degree))

    def _experts(self) -> tuple[Group, Group]:
        """Experts that lie whole have copies on every `expert`-th rank of the stage; those within one replica share
        them as shards."""
        layout, degree = self.layout, self.layout.expert
        if degree == 1:
            return self.dense_copies, self.dense_shards
        first, index = self.stage.ranks[0], self.stage.index
        within = layout.shards * layout.context * layout.tensor
        if max(within, degree) % min(within, degree):
            raise SpecError(
                f"layout does not divide: shards * context * tensor = {within} and expert = {degree}: "
                "one must be a multiple of the other"
            )
        if layout.sharding == "none" or within <= degree:
            every = range(first + index % degree, first + layout.stage_ranks, degree)
            return self._group("expert copies", every), self._group("expert shards", [self.rank])
        start = first + index // within * within + index % degree
        shards = self._group("expert shards", range(start, start + within - index % degree, degree))
        return self._group("expert copies", range(first + index % within, first + layout.stage_ranks, within)), shards

    def _ends(self) -> Group:
        stages = sorted({0, self.layout.pipeline - 1})
        return self._group("ends", [rank_of(replace(self.place, pipeline=stage), self.layout) for stage in stages])

    def _along(self, name: str, *axes: str) -> Group:
        """Ranks that differ from this one along some axes, the last of them innermost."""
        layout = self.layout
        degrees = (layout.pipeline, layout.replicas, layout.shards, layout.context, layout.tensor)
        sizes: dict[str, int] = dict(zip(_AXES, degrees, strict=True))
        places = [self.place]
        for axis in axes:
            places = [replace(place, **{axis: index}) for place in places for index in range(sizes[axis])]
        return self._group(name, [rank_of(place, layout) for place in places])

    def _group(self, name: str, ranks: Sequence[int]) -> Group:
        members = tuple(ranks)
        if len(members) == 1 or self.rank not in members:
            return Group(name, members, 0)
        return Group(name, members, members.index(self.rank), _open(members))


@cache
def _open(ranks: tuple[int, ...]) -> dist.ProcessGroup:
    """The group of these ranks. It lives as long as the process: torch names it by its ranks, and a second one of the
    same name could not be opened."""
    handle = dist.new_group(list(ranks), use_local_synchronization=True)
    assert isinstance(handle, dist.ProcessGroup)
    return handle


def forget_groups() -> None:
    """After the process group itself has been given up."""
    _open.cache_clear()
