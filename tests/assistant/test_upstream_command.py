"""`lindos serve --upstream` and `lindos chat --upstream`, as processes of their own."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from lindos.server import Settings
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served
from tests.server.test_process import LINDOS, PATIENCE, environment, run, running

WORDS = "Chares built it."


def test_a_server_over_two_others_never_imports_torch(tmp_path: Path):
    def start() -> ScriptedChatModel:
        return ScriptedChatModel(WORDS)

    with (
        served(Settings(port=0, data=tmp_path / "a"), start) as first,
        served(Settings(port=0, data=tmp_path / "b"), start) as second,
    ):
        arguments = ["--port", "0", "--upstream", first.url, "--upstream", second.url, "--upstream-kind", "lindos"]
        with running(tmp_path, "serve", *arguments, "--context", "512") as server:
            asked = {"model": "scripted", "messages": [{"role": "user", "content": "Who?"}], "user": "me"}
            for _ in range(4):
                reply = httpx.post(f"{server.url}/v1/chat/completions", json=asked, timeout=PATIENCE).json()
                assert reply["choices"][0]["message"]["content"] == WORDS
            state = httpx.get(f"{server.url}/api/state", timeout=PATIENCE).json()
            assert (state["model"]["parameters"], state["model"]["context"]) == (0, 512)
            assert "very small" not in state["model"]["caution"]
            libraries = Path(f"/proc/{server.process.pid}/maps")
            if libraries.exists():
                assert "torch" not in libraries.read_text(), "the server's process imports torch"
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(PATIENCE) == 0


def test_a_server_whose_upstream_is_away_lives_and_says_so(tmp_path: Path):
    command = [*LINDOS, "serve", "--port", "0", "--upstream", "http://127.0.0.1:9"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment(tmp_path), stdin=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[3]
            end = time.monotonic() + PATIENCE
            while True:
                reply = httpx.get(f"{url}/ready", timeout=PATIENCE)
                assert reply.status_code == 503
                if "cannot be reached: Connection refused" in reply.json()["error"]["message"]:
                    break
                assert time.monotonic() < end
                time.sleep(0.1)
            assert "127.0.0.1" not in reply.text
            assert httpx.get(f"{url}/health", timeout=PATIENCE).status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_talking_in_the_terminal_to_an_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_KEY", "sk-very-secret")
    settings = Settings.parse({"port": 0, "data": tmp_path / "a", "api_key": "sk-very-secret"})
    with served(settings, lambda: ScriptedChatModel(WORDS)) as upstream:
        ways = ["chat", "--terminal", "--upstream", upstream.url, "--upstream-kind", "lindos"]
        done = run(tmp_path, *ways, "--upstream-key-env", "A_KEY", text="Who built it?\n")
        assert done.stdout.strip() == WORDS
        assert done.returncode == 0
        assert "sk-very" not in done.stderr
        refused = run(tmp_path, *ways, text="Who built it?\n")
        assert refused.returncode == 1
        assert "refuses the key" in refused.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["serve", "DIR", "--upstream", "http://127.0.0.1:9"], 2, "not both"),
        (["chat", "DIR", "--upstream", "http://127.0.0.1:9"], 2, "not both"),
        (["serve", "--upstream", "127.0.0.1:9"], 1, "is no address"),
        (["serve", "--upstream-kind", "vllm"], 2, "want an --upstream"),
        (["serve", "--upstream", "http://a", "--threads", "2"], 2, "models that run here"),
        (["serve", "--upstream", "http://a", "--upstream-key-env", "NO_SUCH_KEY"], 1, "no variable NO_SUCH_KEY"),
    ],
)
def test_mistakes_are_answered_in_one_message(tmp_path: Path, arguments: list[str], status: int, words: str):
    done = run(tmp_path, *arguments)
    assert done.returncode == status
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
