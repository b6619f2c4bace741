"""The server that is measured, a process of its own; and its side here: started, asked, ended."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.assistant.world import reply
from lindos.assistant import Sampling
from lindos.assistant.scripted import ScriptedAnswer, ScriptedChatModel
from lindos.server import Settings, listen, serve
from lindos.server.run import address, settle
from lindos.specs import Message


class RecordingModel(ScriptedChatModel):
    """Says something else to each seed, and remembers when it began to answer whom: on the monotonic clock, which all
    processes of a machine share."""

    def __init__(self, words: int, pause: float) -> None:
        super().__init__((), pause=pause)
        self._words, self._between = words, pause
        self.began: dict[str, float] = {}

    async def submit(
        self,
        messages: Sequence[Message] | None = None,
        *,
        sampling: Sampling | None = None,
        client: str = "",
        **others: Any,
    ) -> ScriptedAnswer:
        question = next((message.content for message in reversed(messages or ()) if message.role == "user"), "")
        seed = sampling.seed if sampling else None
        answer = ScriptedAnswer(" ".join(reply(question, self._words, seed)), self._between)
        self.began[client] = answer.started
        return answer


class Serving:
    """The server's process, as others see it. Ends with its block, and when its owner dies."""

    def __init__(self, data: Path, *, words: int, pause: float) -> None:
        command = [sys.executable, "-m", __spec__.name, str(data), str(words), str(pause)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._answer()["port"])

    def report(self) -> dict[str, Any]:
        """`cpu`: seconds it has computed so far; `began`: when the model began its answers, by client."""
        assert self._process.stdin is not None
        self._process.stdin.write("report\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with status {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with self._process:  # closes its output, too
            pass


async def run(data: Path, words: int, pause: float) -> None:
    """Serve until the input ends; a line on it asks for a report."""
    model = RecordingModel(words, pause)
    settings = Settings(port=0, data=data, personas=data / "personas")
    listening = listen(settings)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def obey() -> None:
        for _ in sys.stdin:
            print(json.dumps({"cpu": time.process_time(), "began": dict(model.began)}), flush=True)
        loop.call_soon_threadsafe(stop.set)

    def ready(_: object) -> None:
        settle()
        print(json.dumps({"port": int(address(settings, listening).rpartition(":")[2])}), flush=True)
        threading.Thread(target=obey, daemon=True).start()

    await serve(settings, lambda: model, listening, on_ready=ready, stop=stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("words", type=int)
    parser.add_argument("pause", type=float)
    options = parser.parse_args()
    asyncio.run(run(options.data, options.words, options.pause))
