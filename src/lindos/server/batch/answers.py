"""The file of a batch's answers: a line each, written as they come, so that a batch can be ended and gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lindos.server.batch.tasks import Task, digest, lines_of
from lindos.specs import LindosError


class BatchError(LindosError):
    """A batch that cannot be run as asked."""


class AnswersFile:
    """Answers in the order in which they came, and at the end in the order of the prompts."""

    def __init__(self, path: Path, prompts: Path) -> None:
        """Takes up what an earlier run has left: its answers stay, its failures and a half-written line go.

        Raises BatchError where the file belongs to other prompts.
        """
        self.path = path
        try:
            self.total, kept = self._take_up(prompts)
            self.done = set(kept)
            if path.exists():
                self._replace(kept.values())
            self._file = path.open("ab")
        except OSError as error:
            raise BatchError(f"{error.filename or path}: {error.strerror}") from None

    def put(self, task: Task, status: int, reply: Mapping[str, Any]) -> None:
        """Write one answer, down to the system. Raises BatchError."""
        words = json.dumps(_answer(task, status, reply), ensure_ascii=False).encode() + b"\n"
        try:
            self._file.write(words)
            self._file.flush()
        except OSError as error:
            raise BatchError(f"{self.path}: cannot be written: {error.strerror}; what stands there is kept") from None
        if status == 200:
            self.done.add(task.line)

    def close(self) -> None:
        """Put the answers into the order of their prompts."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        found = {line: text for line, text, _ in _read(self.path)}
        self._replace(found[line] for line in sorted(found))

    def _take_up(self, prompts: Path) -> tuple[int, dict[int, bytes]]:
        """How many prompts there are, and the answers of an earlier run by their lines."""
        earlier = {line: (text, of) for line, text, of in _read(self.path)} if self.path.exists() else {}
        total, kept = 0, {}
        for number, line in lines_of(prompts):
            total += 1
            if number in earlier:
                text, of = earlier.pop(number)
                if of.get("digest") != digest(line):
                    raise BatchError(
                        f"{self.path} has an answer to another prompt than line {number} of {prompts}: "
                        "it is of other prompts; choose another file, or begin anew with --restart"
                    )
                if not of.get("error"):
                    kept[number] = text
        if earlier:
            raise BatchError(
                f"{self.path} has answers to lines that {prompts} does not have, e.g. line {min(earlier)}; "
                "choose another file, or begin anew with --restart"
            )
        return total, kept

    def _replace(self, lines: Any) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        with part.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def _read(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """The whole answers in a file: line, text and content. Raises BatchError for what no batch wrote."""
    with path.open("rb") as file:
        for text in file:
            if not text.endswith(b"\n"):
                return  # it was being written when the run ended
            try:
                found = json.loads(text)
                yield int(found["line"]), text, found
            except (ValueError, TypeError, KeyError, RecursionError):
                raise BatchError(f"{path}: holds what is no answer of a batch, and is left as it is") from None


def _answer(task: Task, status: int, reply: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"line": task.line, "digest": task.digest}
    error = None if status == 200 else reply.get("error") or {"message": f"status {status}"}
    if task.shaped:
        response = {"status_code": status, "request_id": reply.get("id"), "body": dict(reply)}
        head |= {"id": f"batch_req_{task.line}", "custom_id": task.name, "response": response}
        return head | {"error": None if error is None else {"code": error.get("code"), "message": error["message"]}}
    head |= {} if task.name is None else {"id": task.name}
    if error is not None:
        return head | {"error": error["message"]}
    texts = [choice["text"] if "text" in choice else choice["message"]["content"] for choice in reply["choices"]]
    head |= {"text": texts[0]} if len(texts) == 1 else {"texts": texts}
    head |= {"finish_reason": reply["choices"][0]["finish_reason"], "usage": reply["usage"]}
    logprobs = [choice["logprobs"] for choice in reply["choices"] if choice.get("logprobs") is not None]
    return head | ({"logprobs": logprobs} if logprobs else {})
