"""Clients that leave, and a queue that is full: with a real engine, whose own counts are looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.server.conftest import MOST
from tests.server.served import Served, idle, wait_until

# The likeliest token again and again: the tiny model then never comes to an end by itself.
ENDLESS = {"model": "tiny", "messages": [{"role": "user", "content": "How are you today?"}], "temperature": 0}
PATIENCE = 60


@contextmanager
def endless_stream(server: Served) -> Iterator[None]:
    """An answer under way for the length of the block."""
    with (
        httpx.Client(base_url=server.url, timeout=PATIENCE) as client,
        client.stream("POST", "/v1/chat/completions", json={**ENDLESS, "stream": True}) as response,
    ):
        lines = response.iter_lines()  # kept: when it goes, so does the connection
        assert next(lines).startswith("data: ")
        yield


def test_a_client_that_leaves_a_stream_stops_its_generation(server: Served):
    before = server.stats()
    with endless_stream(server):
        wait_until(lambda: server.stats().running == 1, "it never ran")
    wait_until(lambda: idle(server), "it went on without its client")
    after = server.stats()
    assert after.finished["cancelled"] == before.finished["cancelled"] + 1
    assert after.completion_tokens - before.completion_tokens < 8000


def test_a_client_that_leaves_before_the_whole_answer_stops_its_generation(server: Served):
    before = server.stats()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/chat/completions", json={**ENDLESS, "n": 2}, timeout=1.5)
    wait_until(lambda: idle(server), "it went on without its client")
    assert server.stats().finished["cancelled"] == before.finished["cancelled"] + 2


def test_a_full_queue_is_answered_with_503_and_empties_again(server: Served):
    with ExitStack() as stack:
        for _ in range(MOST):
            stack.enter_context(endless_stream(server))
        for body in (ENDLESS, {**ENDLESS, "stream": True}, {**ENDLESS, "n": 3}):
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
            assert reply.status_code == 503, reply.text
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.json()["error"]["code"] == "queue_full"
        stats = server.stats()
        assert stats.running + stats.waiting == MOST
    wait_until(lambda: idle(server), "they went on without their clients")
    reply = httpx.post(f"{server.url}/v1/chat/completions", json={**ENDLESS, "max_tokens": 2}, timeout=PATIENCE)
    assert reply.status_code == 200


def test_several_choices_that_do_not_all_fit_are_given_back(server: Served):
    with ExitStack() as stack:
        for _ in range(MOST - 1):
            stack.enter_context(endless_stream(server))
        reply = httpx.post(f"{server.url}/v1/chat/completions", json={**ENDLESS, "n": 2}, timeout=PATIENCE)
        assert reply.status_code == 503
        wait_until(lambda: server.stats().running == MOST - 1, "the accepted choice was not given back")
    wait_until(lambda: idle(server), "they went on without their clients")


def test_many_clients_at_once_each_get_their_own_answer(server: Served):
    """More than the queue holds: some are told to come back, none gets another's text."""
    gate = threading.Barrier(8)

    def ask(seed: int) -> tuple[int, str]:
        gate.wait(PATIENCE)
        body = {**ENDLESS, "temperature": 1, "seed": seed, "max_tokens": 8}
        while True:
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE)
            if reply.status_code == 200:
                return seed, reply.json()["choices"][0]["message"]["content"]
            assert reply.status_code == 503
            time.sleep(0.1)

    with ThreadPoolExecutor(8) as pool:
        together = dict(pool.map(ask, [1, 2, 3, 4] * 2))
    gate = threading.Barrier(1)
    assert together == dict(map(ask, [1, 2, 3, 4]))
