"""A browser, and servers whose model says what a test wants to see."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from lindos.server import Settings
from lindos.specs import Message
from tests.server.scripted import INFO, ScriptedChatModel
from tests.server.served import Served, served
from tests.web.texts import answer

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; tests that want it are skipped without it, unless nothing may be skipped.

    One a file: while it is there its event loop runs, and tests elsewhere cannot run one of their own.
    """
    path = os.environ.get("LINDOS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        words = "Chromium is not installed; put it on the PATH, or name it in LINDOS_CHROMIUM"
        if os.environ.get("LINDOS_NO_SKIP") == "1":
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield found
        found.close()


def script(messages: Sequence[Message]) -> str:
    return answer(messages[-1].content)


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that answers at once what tests/web/texts.py has for a question."""
    settings = Settings(port=0, data=tmp_path_factory.mktemp("web"), personas=Path("nowhere"))
    model = ScriptedChatModel(script, info=replace(INFO, name="pebble"), piece=40)
    with served(settings, lambda: model) as running:
        yield running


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same, at the speed of reading: for what happens while an answer comes."""
    settings = Settings(port=0, data=tmp_path_factory.mktemp("slow"), personas=Path("nowhere"))
    with served(settings, lambda: ScriptedChatModel(script, pause=0.03, piece=8)) as running:
        yield running


class Visitor:
    """A page in a browser that notes whatever it complains about, and whom it asks for what."""

    def __init__(self, page: Page, home: str) -> None:
        self.page = page
        self.home = home
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)
        page.set_default_timeout(30_000)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} ({message.location})")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.home).netloc:
            self.foreign.append(request.url)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.home + path)
        self.page.wait_for_selector("#model[data-state=ready]")

    def ask(self, text: str) -> None:
        """Type a question, send it, wait for the end of the answer."""
        before = self.page.locator(".turn.assistant").count()
        self.page.fill("#question", text)
        self.page.keyboard.press("Enter")
        self.answered(before)

    def answered(self, before: int = 0) -> None:
        self.page.wait_for_selector(f".turn.assistant[aria-busy=false] >> nth={before}")

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


Visit = Callable[..., Any]


@pytest.fixture
def visit(browser: Browser) -> Visit:
    """`with visit(server, **context) as visitor`: a fresh browser profile; complaints fail the test at its end."""

    @contextmanager
    def visiting(server: Served, *, quiet: bool = True, **options: Any) -> Iterator[Visitor]:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 820}, **options})
        try:
            visitor = Visitor(context.new_page(), server.url)
            yield visitor
            assert visitor.foreign == []
            if quiet:
                assert visitor.complaints == []
        finally:
            context.close()

    return visiting
