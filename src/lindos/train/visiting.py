"""How replica groups reach each other: addresses, a connection that strangers are told by, and the way to be healed.

torchft's own ways to send state read pickle from the network; all groups know all shapes, so that numbers suffice.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from lindos.specs import SpecError

State = list[Tensor]


def own_address(url: str, patience: float) -> str:
    """The address under which this machine reaches a lighthouse, and so its neighbours this machine: no name is asked
    for that others might not know. Raises SpecError where none answers within `patience` seconds."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise SpecError(f"replicas.lighthouse: {url!r} is no address; write it like http://10.0.0.1:29510")
    until = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection((parts.hostname, parts.port), timeout=patience) as probe:
                return probe.getsockname()[0]
        except OSError as error:
            if time.monotonic() >= until:
                raise SpecError(
                    f"replicas.lighthouse: nothing answers at {url} ({error.strerror or error}); start one with "
                    f"`lindos train lighthouse --bind {parts.netloc}`"
                ) from None
            time.sleep(min(0.5, patience / 4))


def is_here(url: str) -> bool:
    """Whether a lighthouse's address is one that only this machine can reach: then all groups are on it."""
    return urlsplit(url).hostname in ("localhost", "::1") or (urlsplit(url).hostname or "").startswith("127.")


def connection_of(torchft: Any, patience: timedelta, fingerprint: bytes) -> Any:
    """The processes with this one's rank in all groups, as torchft's process group over processors' memory.

    Whoever has another `fingerprint` is told apart before anything is exchanged: tensors of other shapes end processes.
    """
    from torch.distributed.distributed_c10d import AllgatherOptions  # pyright: ignore[reportPrivateImportUsage]

    class Connection(torchft.ProcessGroupGloo):
        strange = False
        """Whether the last ones it connected to train another run."""

        def configure(self, store_addr: str, replica_id: str, rank: int, world_size: int, *more: Any) -> None:
            super().configure(store_addr, replica_id, rank, world_size, *more)
            mine = torch.tensor(list(fingerprint), dtype=torch.uint8)
            found = [torch.zeros_like(mine) for _ in range(world_size)]
            self.strange = False
            self.allgather([found], [mine], AllgatherOptions()).wait(patience)
            self.strange = not all(torch.equal(each, mine) for each in found)
            if self.strange:
                raise RuntimeError("some of the groups train another run")

    return Connection(timeout=patience)


def transport_of(connection: Any, state: Callable[[], State]) -> Any:
    """How a group that is behind gets what another has: tensor by tensor, over the groups' own connection."""
    from torchft.checkpointing.transport import CheckpointTransport

    class Transport(CheckpointTransport[Any]):
        def metadata(self) -> str:
            return ""

        def send_checkpoint(self, dst_ranks: list[int], step: int, state_dict: Any, timeout: timedelta) -> None:
            head = torch.tensor([step, state_dict["torchft"]["batches_committed"]])
            for rank in dst_ranks:
                for tag, tensor in enumerate([head, *state_dict["user"]["default"]]):
                    connection.send([tensor.detach().cpu()], rank, tag).wait(timeout)

        def recv_checkpoint(self, src_rank: int, metadata: str, step: int, timeout: timedelta) -> Any:
            tensors = [torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in state()]
            head = torch.zeros(2, dtype=torch.int64)
            connection.recv([head], src_rank, 0).wait(timeout)
            if int(head[0]) != step:
                raise RuntimeError(f"the other group is at step {int(head[0])}, not at {step}")
            for tag, tensor in enumerate(tensors, 1):
                connection.recv([tensor], src_rank, tag).wait(timeout)
            return {"user": {"default": tensors}, "torchft": {"step": step, "batches_committed": int(head[1])}}

    return Transport()
