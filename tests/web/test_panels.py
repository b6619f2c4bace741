"""The ways Lindos speaks, and the count of posts: what two buttons show beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from lindos.knowledge import Post
from lindos.server import Settings
from tests.server.grounded import NIGHT, Following, Given, give
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served
from tests.web.conftest import Visit, Visitor
from tests.web.election import script
from tests.web.test_looks import COLOURS, contrast

PILOT = 'title = "Harbour pilot"\ndescription = "Calm, and knows every rock by name."\nsystem = "Be calm."\n'
SMALL = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "pilot.toml").write_text(PILOT)
    settings = Settings(port=0, data=tmp_path / "data", personas=tmp_path / "personas")
    with served(settings, lambda: ScriptedChatModel("plain", piece=40)) as server:
        streams = [Following("bluesky", True, "live"), Following("mastodon:harbour.example", False)]
        yield give(server, script, streams)


def look(page: Page) -> None:
    with page.expect_response("**/api/news*"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def in_view(visitor: Visitor, selector: str) -> bool:
    return visitor.page.eval_on_selector(
        selector,
        "e => (r => r.left >= 0 && r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight)"
        "(e.getBoundingClientRect())",
    )


def test_a_persona_is_chosen_by_pointer_own_ones_included(visit: Visit, given: Given):
    with visit(given.server) as visitor:
        page = visitor.page
        visitor.open()
        assert not page.is_visible("#persona-panel")
        assert page.get_attribute("#persona", "aria-expanded") == "false"
        page.click("#persona")
        assert page.get_attribute("#persona", "aria-expanded") == "true"
        assert in_view(visitor, "#persona-panel")
        assert [card.inner_text().split("\n") for card in page.locator(".persona").all()] == [
            ["Direct and funny", "Says it straight, with dry humour."],
            ["Regular", "Clear and sober, no jokes."],
            ["Harbour pilot", "Calm, and knows every rock by name."],
        ]
        page.click(".persona:has-text('Harbour pilot')")
        assert not page.is_visible("#persona-panel")
        assert "Harbour pilot" in page.inner_text("#persona")
        visitor.ask("hello")
        assert given.assistant.asked[-1].persona == "pilot"
        page.reload()
        visitor.answered()
        page.wait_for_selector("#persona >> text=Harbour pilot")
        page.click("#persona")
        page.click("#title")
        assert not page.is_visible("#persona-panel"), "a press elsewhere hides it"


def test_a_persona_is_chosen_by_keyboard(visit: Visit, given: Given):
    with visit(given.server) as visitor:
        page = visitor.page
        visitor.open()
        page.focus("#persona")
        page.keyboard.press("Enter")
        chosen = "document.activeElement.value"
        assert page.evaluate(chosen) == "direct"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(chosen) == "pilot"
        assert page.is_visible("#persona-panel"), "arrows only look around"
        assert page.eval_on_selector(".persona:has(:focus-visible)", "e => getComputedStyle(e).outlineStyle") == "solid"
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        assert not page.is_visible("#persona-panel")
        assert page.evaluate("document.activeElement.id") == "persona"
        page.keyboard.press("Space")
        page.keyboard.press("Escape")
        assert not page.is_visible("#persona-panel")
        assert page.evaluate("document.activeElement.id") == "persona", "Escape hides the panel and no more"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.wait_for_selector("#persona-panel", state="hidden", timeout=20_000)  # leaving hides it
        visitor.ask("hello")
        assert given.assistant.asked[-1].persona == "regular"


def test_it_is_told_that_humour_is_off_while_an_event_is_open(visit: Visit, given: Given):
    with visit(given.server) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("hello")
        off = "#persona >> text=humour off"
        assert not page.is_visible(off)
        for question, silent in (("who", True), ("hello", False), ("unknown", True), ("settled", False)):
            visitor.ask(question)
            assert page.is_visible(off) == silent, question
        page.click("#persona")
        assert "Humour is off in answers about events that are still open." in page.inner_text("#persona-panel")


def test_the_count_of_posts_is_calm_and_hidden_where_there_are_none(visit: Visit, given: Given):
    with visit(given.server) as visitor:
        page = visitor.page
        page.clock.install(time=NIGHT + timedelta(minutes=6))
        visitor.open()
        look(page)
        assert not page.is_visible("#posts")
        given.posts.number = 48_000
        given.posts.latest = Post("bluesky", "at://x/1", "did:x", "hello", NIGHT + timedelta(minutes=5))
        look(page)
        page.wait_for_selector("#posts-count >> text=48,000")
        assert page.inner_text("#posts-button").split("\n") == ["48,000 posts"]
        given.posts.number = 48_210
        page.clock.run_for(10_000)
        look(page)
        page.wait_for_selector("#posts-count >> text=48,210")
        assert page.inner_text("#posts-rate").startswith("+")
        assert page.inner_text("#posts-rate").endswith("/s")


def test_news_that_arrive_late_do_not_undo_newer_ones(visit: Visit, given: Given):
    with visit(given.server) as visitor:
        page = visitor.page
        visitor.open()
        look(page)
        held: list[Route] = []
        page.route("**/api/news*", lambda route: held.append(route) if not held else route.continue_())
        with page.expect_request("**/api/news*"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        nothing = page.request.get(f"{given.server.url}/api/news?conversation=")
        given.posts.number = 48_000
        given.posts.latest = Post("bluesky", "at://x/1", "did:x", "hello", NIGHT)
        look(page)
        page.wait_for_selector("#posts-count >> text=48,000")
        with page.expect_event("requestfinished", lambda request: request == held[0].request):
            held[0].fulfill(response=nothing)
        page.wait_for_timeout(200)
        assert page.is_visible("#posts-count")


def test_behind_the_count_stand_the_streams_and_how_to_start_one(visit: Visit, given: Given):
    given.posts.number = 1
    given.posts.latest = Post("bluesky", "at://x/1", "did:x", "hello", NIGHT + timedelta(minutes=5))
    with visit(given.server, permissions=["clipboard-read", "clipboard-write"]) as visitor:
        page = visitor.page
        page.clock.set_fixed_time(NIGHT + timedelta(minutes=6))
        visitor.open()
        page.wait_for_selector("#posts:not([hidden])")
        page.focus("#posts-button")
        page.keyboard.press("Enter")
        assert in_view(visitor, "#posts-panel")
        words = page.inner_text("#posts-panel")
        assert "1 post is known here. The newest was seen at 21:19 UTC." in words
        assert [one.inner_text().split("\n") for one in page.locator(".stream").all()] == [
            ["bluesky", "live"],
            ["mastodon:harbour.example", "not connected"],
        ]
        page.keyboard.press("Enter")  # the focus is on the button that copies
        page.wait_for_function("navigator.clipboard.readText().then(t => t === 'lindos posts follow bluesky')")
        page.keyboard.press("Escape")
        assert not page.is_visible("#posts-panel")
        assert page.evaluate("document.activeElement.id") == "posts-button"
        give(given.server, script).posts.number = 7
        look(page)
        page.click("#posts-button")
        page.wait_for_selector(".stream >> text=This server follows no stream itself.")


def test_panels_fit_a_small_phone(visit: Visit, given: Given):
    given.posts.number = 48_210_000
    with visit(given.server, **SMALL) as visitor:
        page = visitor.page
        visitor.open()
        page.wait_for_selector("#posts:not([hidden])")
        assert "48.2M" in page.inner_text("#posts-button")
        assert visitor.overflow() <= 0
        for button, panel in (("#posts-button", "#posts-panel"), ("#persona", "#persona-panel")):
            page.tap(button)
            assert in_view(visitor, panel)
            assert visitor.overflow() <= 0
            page.tap(button)
            assert not page.is_visible(panel)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit: Visit, given: Given, scheme: str):
    given.posts.number = 12
    with visit(given.server, color_scheme=scheme, reduced_motion="reduce") as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("who")
        page.wait_for_selector("#posts:not([hidden])")
        words = [".posts-count", ".posts-rate", ".persona-title", ".persona-off", ".persona-words strong"]
        words += [".persona-words span", ".persona:has(:checked) .persona-words span", ".panel-note", ".command code"]
        words += [".posts-panel p", ".stream-name", ".stream-state"]
        page.click("#persona")
        for selector in words:
            ink, ground = page.evaluate(COLOURS, selector)
            assert contrast(ink, ground) >= 4.5, (selector, ink, ground)
