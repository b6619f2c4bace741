"""The count of posts on the page of a server that truly follows a stream, of a network with its own Jetstream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from lindos.server import Settings
from tests.server.network import Network, network
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served, served
from tests.web.conftest import Visit


@dataclass
class Live:
    server: Served
    net: Network


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with network() as net:
        settings = Settings(port=0, data=tmp_path, personas=Path("nowhere"), follow=(net.source,))
        with served(settings, lambda: ScriptedChatModel("I do not know.", piece=40)) as server:
            yield Live(server, net)


def shows(page: Page, selector: str, words: str) -> None:
    """Looks, as when somebody comes back to the page, until it is there."""
    page.wait_for_function(
        """([selector, words]) => {
            document.dispatchEvent(new Event('visibilitychange'));
            const found = document.querySelector(selector);
            return found && !found.closest('[hidden]') && found.textContent.includes(words);
        }""",
        arg=[selector, words],
        polling=300,
    )


def test_the_counter_counts_what_is_followed(visit: Visit, live: Live):
    with visit(live.server) as visitor:
        page = visitor.page
        visitor.open()
        assert not page.is_visible("#posts")
        live.net.post("ferry", "The ferry to Port Ellery is cancelled, says the harbour master.")
        shows(page, "#posts-count", "1")
        for number in range(11):
            live.net.post(f"p{number}", f"Gulls over the quay, number {number}")
        shows(page, "#posts-count", "12")
        page.click("#posts-button")
        shows(page, ".stream.live .stream-state", "live, 12 new")
        assert page.inner_text(".stream .stream-name") == live.net.name
        page.keyboard.press("Escape")

        visitor.ask("What is the latest news about the ferry to Port Ellery?")
        words = "is cancelled, says the harbour master"
        assert words in page.inner_text(".turn.assistant .prose")
        assert words in page.inner_text(".sources-cited .source >> nth=0")
        live.net.delete("ferry")
        shows(page, "#posts-count", "11")
        page.wait_for_function("words => !document.querySelector('#thread').textContent.includes(words)", arg=words)

        live.net.down()
        page.click("#posts-button")
        shows(page, ".stream:not(.live) .stream-state", "trying again in")
        live.net.up()
        shows(page, ".stream.live .stream-state", "live, 12 new")
        live.net.post("last", "The ferry sails again.")
        shows(page, "#posts-count", "12")
