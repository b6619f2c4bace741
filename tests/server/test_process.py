"""The commands as processes of their own: what they print, how they end, what survives."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from lindos.cli.main import VERBS
from tests.server.events import create
from tests.server.test_leaving import ENDLESS, wait_until

PATIENCE = 120
LINDOS = [sys.executable, "-c", "from lindos.cli import main; main()"]

# A terminal sends Ctrl-C's signal only to who has taken it as its own.
TAKE_TERMINAL = "import os, sys, signal, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
BECOME = "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
IGNORE_CTRL_C = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "OMP_NUM_THREADS": "1", "DISPLAY": ""}


def run(home: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LINDOS, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(home),
        check=False,
    )


class Running:
    """`lindos serve` or `lindos chat`, ready."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url


@contextmanager
def running(home: Path, *arguments: str) -> Iterator[Running]:
    with subprocess.Popen(
        [*LINDOS, *arguments], stderr=subprocess.PIPE, text=True, env=environment(home), stdin=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if "Ctrl-C ends it" in line:
                    break
            found = re.search(r"http://[\d.]+:\d+", said)
            assert found, said
            assert "is ready after" in said
            yield Running(process, found[0])
        finally:
            process.kill()


def test_a_server_from_start_to_ctrl_c(tmp_path: Path, tiny_model_dir: Path):
    with running(tmp_path, "serve", str(tiny_model_dir), "--port", "0", "--threads", "1") as server:
        reply = httpx.get(f"{server.url}/v1/models", timeout=PATIENCE)
        assert [model["id"] for model in reply.json()["data"]] == ["tiny", "lindos"]
        libraries = Path(f"/proc/{server.process.pid}/maps")
        if libraries.exists():
            assert "torch" not in libraries.read_text(), "the server's process imports torch"
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()
    assert (tmp_path / "data" / "lindos" / "lindos.db").exists()


def test_the_rooms_of_the_server_do_not_import_torch():
    code = "import sys, lindos.server, lindos.assistant, lindos.storage; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_help_starts_without_the_heavy_libraries():
    code = (
        "import sys, contextlib\nfrom lindos.cli import main\nsys.argv = ['lindos', 'chat', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "heavy = {'torch', 'numpy', 'fastapi', 'uvicorn', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    assert {"chat", "serve"} <= set(VERBS)


def begin(server: Running) -> str:
    """A conversation whose first answer is under way."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        conversation = create(client)
        path = f"/api/conversations/{conversation}/messages"
        with client.stream("POST", path, json={"text": "How are you today?"}) as response:
            for line in response.iter_lines():
                if line == "event: patch":
                    break
    return conversation


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_an_answer_under_way_survives_the_end_of_its_server(tmp_path: Path, long_model_dir: Path, end: signal.Signals):
    arguments = ("serve", str(long_model_dir), "--port", "0", "--threads", "1")
    for _ in range(5):  # a random model may end its answer before its server does
        with running(tmp_path, *arguments) as server:
            conversation = begin(server)
            server.process.send_signal(end)
            assert server.process.wait(PATIENCE) in (0, -end)
        with running(tmp_path, *arguments) as server:
            messages = httpx.get(f"{server.url}/api/conversations/{conversation}").json()["messages"]
            assert messages[0]["text"] == "How are you today?"
            assert len(messages) == 2
        if messages[1]["state"] == "interrupted":
            break
    else:
        pytest.fail("no answer was interrupted")
    if end == signal.SIGTERM:
        assert messages[1]["text"], "what was written until the signal is kept"


def test_two_chats_take_two_ports(tmp_path: Path, tiny_model_dir: Path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = str(taken.getsockname()[1])
        refused = run(tmp_path, "serve", str(tiny_model_dir), "--port", busy)
        assert refused.returncode == 1
        assert "choose another with --port" in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
    arguments = ("chat", str(tiny_model_dir), "--no-browser", "--threads", "1")
    with running(tmp_path, *arguments) as one, running(tmp_path, *arguments) as two:
        assert one.url != two.url
        for server in (one, two):
            assert "<title>Lindos</title>" in httpx.get(server.url).text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("serve", "no/such/model"), "there is no model directory"),
        (("chat", "."), "has no config.json"),
        (("serve", ".", "--host", "0.0.0.0"), "has no config.json"),
    ],
)
def test_mistakes_are_told_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...], words: str):
    found = run(tmp_path, *arguments)
    assert found.returncode == 1
    assert words in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr


def test_beyond_this_machine_wants_a_key(tmp_path: Path, tiny_model_dir: Path):
    found = run(tmp_path, "serve", str(tiny_model_dir), "--host", "0.0.0.0", "--port", "0")
    assert found.returncode == 1
    assert "--api-key" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--terminal", "--port", "9000"), "--port and --browser"),
        (("--terminal", "--no-browser"), "--port and --browser"),
        (("--terminal", "--follow", "bluesky"), "--follow and --meaning are for the page"),
        (("--persona", "regular"), "--persona is for --terminal"),
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path: Path, tiny_model_dir: Path, arguments, words: str):
    found = run(tmp_path, "chat", str(tiny_model_dir), *arguments)
    assert found.returncode == 2
    assert words in " ".join(found.stderr.replace("│", " ").split())


def test_a_terminal_that_lacks_letters_gets_question_marks(tmp_path: Path):
    code = (
        "import sys; from lindos.cli.terminal import _questions, _harmless; from rich.console import Console; "
        "print(*_questions(Console(), False)); print(''.join(map(_harmless, 'a\u00adb\u202ec\x1bd \u2019')))"
    )
    environ = {**environment(tmp_path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"caf\xc3\xa9\n", capture_output=True, env=environ, check=True
    )
    assert done.stdout.decode("ascii").split("\n") == ["caf??", "a?b?c?d ?", ""]


def test_questions_through_a_pipe(tmp_path: Path, tiny_model_dir: Path):
    questions = "Hello\n\n/persona\n/persona regullar\n/nonsense\nWho are you?\n/quit\nnever asked\n"
    found = run(tmp_path, "chat", str(tiny_model_dir), "--terminal", "--threads", "1", text=questions)
    assert found.returncode == 0, found.stderr
    assert found.stdout
    assert "\x1b" not in found.stdout, "a model may not steer the terminal"
    said = " ".join(found.stderr.split())
    assert "* direct" in said
    assert "did you mean 'regular'" in said
    assert "no /nonsense" in said
    assert not (tmp_path / "data").exists(), "what came through a pipe is nobody's history"


def test_a_question_too_long_for_the_model_fails_and_the_next_one_does_not(tmp_path: Path, tiny_model_dir: Path):
    questions = "ships " * 500 + "\nHello\n"
    found = run(tmp_path, "chat", str(tiny_model_dir), "--terminal", "--threads", "1", text=questions)
    assert found.returncode == 1
    assert "That did not work" in found.stderr
    assert found.stdout.strip()


class Terminal:
    """A command in a terminal of its own, as a person sees it."""

    def __init__(self, home: Path, *arguments: str, before: str = TAKE_TERMINAL) -> None:
        self.seen = ""
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{before}; {BECOME}", *LINDOS[1:], *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment(home), "TERM": "xterm"},
        )
        os.close(theirs)
        self._ours = ours

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, words: str) -> None:
        assert self._sees(words, PATIENCE), f"{words!r} did not come after {self.seen!r}"
        self.seen = self.seen.split(words, 1)[1]

    def _sees(self, words: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while words not in self.seen and time.monotonic() < end:
            if select.select([self._ours], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._ours, 1 << 16).decode("utf-8", "replace")
                except OSError:  # the other end is closed
                    break
        return words in self.seen

    def interrupt_prompt(self, words: str) -> None:
        """Press Ctrl-C until it is answered with `words`.

        Python's readline sleeps through one that comes between its showing of the prompt and its wait for a key. It
        stays pending, so that pressing again counts as one Ctrl-C, as a person would find.
        """
        for _ in range(20):
            self.type("\x03")
            if self._sees(words, PATIENCE / 20):
                break
        self.wait_for(words)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_a_conversation_that_cannot_be_kept_goes_on(tmp_path: Path, endless_model_dir: Path):
    terminal = Terminal(tmp_path, "chat", str(endless_model_dir), "--terminal", "--threads", "1")
    try:
        terminal.wait_for("you>")
        full = "CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        with closing(sqlite3.connect(tmp_path / "data" / "lindos" / "lindos.db")) as database, database:
            database.execute(full)
        terminal.type("How are you today?\n")
        terminal.wait_for("not kept")
        terminal.wait_for("the disk is full")
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("you>")
        terminal.type("/quit\n")
        assert terminal.process.wait(PATIENCE) == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(
    "before", [TAKE_TERMINAL, f"{TAKE_TERMINAL}; {IGNORE_CTRL_C}"], ids=["plainly", "ctrl_c_ignored"]
)
def test_a_conversation_in_the_terminal(tmp_path: Path, endless_model_dir: Path, before: str):
    terminal = Terminal(tmp_path, "chat", str(endless_model_dir), "--terminal", "--threads", "1", before=before)
    try:
        terminal.wait_for("you>")
        terminal.type("How are you today?\n")
        terminal.wait_for("\n")
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("you>")
        terminal.interrupt_prompt("leaves")
        terminal.type("/new\n")
        terminal.wait_for("A new conversation")
        terminal.type("/help\n")
        terminal.wait_for("/persona [ID]")
        terminal.wait_for("you>")
        terminal.type("\x04")
        assert terminal.process.wait(PATIENCE) == 0
    finally:
        terminal.close()
    with running(tmp_path, "chat", str(endless_model_dir), "--no-browser", "--threads", "1") as server:
        # What was typed in the terminal is found on the page.
        (row,) = httpx.get(f"{server.url}/api/conversations").json()["conversations"]
        assert row["title"] == "How are you today?"
        messages = httpx.get(f"{server.url}/api/conversations/{row['id']}").json()["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert messages[1]["state"] == "stopped"


def test_a_server_that_is_told_to_end_does_not_wait_for_streams(tmp_path: Path, long_model_dir: Path):
    with running(tmp_path, "serve", str(long_model_dir), "--port", "0", "--threads", "1") as server:
        path = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", path, json={**ENDLESS, "stream": True}, timeout=PATIENCE) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest = list(lines)
            assert any("error" in line for line in rest[-4:]), rest[-4:]
        wait_until(lambda: server.process.poll() is not None, "it did not end")
        assert server.process.returncode == 0
