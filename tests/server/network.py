"""A Jetstream in a thread of its own, which outlives the servers that follow it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.knowledge.servers.jetstream import Jetstream

T = TypeVar("T")
PATIENCE = 60
ANN = "did:plc:ann"


class Network:
    """What happens on it is said by `do`; `down` and `up` are its server's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.jetstream = Jetstream()
        self._loop = loop

    @property
    def source(self) -> str:
        """What to follow."""
        return f"bluesky:{self.jetstream.url}"

    @property
    def name(self) -> str:
        """What the stream's place is kept under."""
        return f"bluesky:127.0.0.1:{self.jetstream.port}"

    def do(self, work: Callable[[], T]) -> T:
        async def main() -> T:
            return work()

        return self._run(main())

    def post(self, rkey: str, text: str, did: str = ANN) -> str:
        """A new post's URI."""
        self.do(lambda: self.jetstream.create(did, rkey, text))
        return f"at://{did}/app.bsky.feed.post/{rkey}"

    def delete(self, rkey: str, did: str = ANN) -> None:
        self.do(lambda: self.jetstream.delete(did, rkey))

    def up(self) -> None:
        self._run(self.jetstream.__aenter__())

    def down(self) -> None:
        self._run(self.jetstream.__aexit__())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


@contextmanager
def network() -> Iterator[Network]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="network")
    thread.start()
    found = Network(loop)
    try:
        found.up()
        yield found
        found.down()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
