"""What answers rest on, in a real browser: sources, citations, how far an event is settled, what became of it since."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page

from lindos.server import Settings
from tests.server.grounded import NIGHT, Given, give
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served
from tests.web.conftest import Visit, Visitor
from tests.web.election import COUNT, DESK, HELD, LEADS, RUMOUR, script
from tests.web.test_looks import COLOURS, PHONE, contrast

SMALL = {**PHONE, "viewport": {"width": 360, "height": 740}}


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Given]:
    settings = Settings(port=0, data=tmp_path, personas=Path("nowhere"))
    with served(settings, lambda: ScriptedChatModel("plain", piece=40)) as server:
        yield give(server, script)


def tonight(visitor: Visitor, minutes: float = 6) -> Page:
    """The page, opened a little after NIGHT."""
    visitor.page.clock.set_fixed_time(NIGHT + timedelta(minutes=minutes))
    visitor.open()
    return visitor.page


def send(visitor: Visitor, text: str) -> None:
    before = visitor.page.locator(".turn.assistant").count()
    visitor.page.fill("#question", text)
    visitor.page.click("#send")
    visitor.answered(before)


def look(page: Page) -> None:
    """As when somebody comes back to the page."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def box(page: Page, selector: str) -> dict[str, float]:
    return page.eval_on_selector(selector, "e => e.getBoundingClientRect().toJSON()")


def test_sources_stand_beside_the_answer(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Who won?")
        prose, sources, composer = (box(page, one) for one in (".prose", ".sources", "#composer"))
        assert sources["left"] >= prose["right"]
        assert sources["top"] <= prose["top"]
        assert composer["right"] <= sources["left"], "the composer stays below the words"
        cards = page.locator(".sources-cited .source")
        assert page.inner_text(".sources-cited summary").strip() == "2 sources"
        assert "@count.portellery.example" in cards.nth(0).inner_text()
        assert "authoritative" in cards.nth(0).inner_text()
        assert COUNT.text in cards.nth(0).inner_text()
        assert "seen 21:10 UTC" in cards.nth(0).inner_text()
        assert "dated" not in cards.nth(0).inner_text()
        assert "dated 20:57 UTC" in cards.nth(1).inner_text()
        link = cards.nth(0).locator("a")
        assert link.get_attribute("href") == COUNT.url
        assert {"noopener", "noreferrer"} <= set((link.get_attribute("rel") or "").split())
        assert link.get_attribute("target") == "_blank"
        assert not page.is_visible("text=HALVORSEN WINS")
        page.click(".sources-also summary")
        others = page.locator(".sources-also .source")
        assert others.count() == 2
        assert "HALVORSEN WINS" in others.nth(0).inner_text()
        assert "authoritative" not in others.nth(0).inner_text()
        assert RUMOUR.text in others.nth(1).inner_text()
        assert others.nth(1).locator("a").count() == 0, "only the web is linked to"
        whole = page.inner_html("#thread .prose")
        page.reload()
        visitor.answered()
        assert page.inner_html("#thread .prose") == whole


def test_a_number_leads_to_its_source_and_back(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Who won?")
        address = page.url
        cites = page.locator(".prose .cite")
        assert [cite.inner_text() for cite in cites.all()] == ["1", "2", "2"]
        assert cites.nth(0).get_attribute("aria-label") == "Source 1: @count.portellery.example"
        lit = lambda: [one.get_attribute("data-number") for one in page.locator(".source.lit").all()]  # noqa: E731
        cites.nth(1).hover()
        assert lit() == ["2"]
        assert page.locator(".cite.lit").count() == 2, "and what else rests on it"
        page.hover(".source >> nth=0")
        assert lit() == ["1"]
        page.mouse.move(5, 5)
        assert lit() == []
        cites.nth(0).focus()
        assert lit() == ["1"]
        page.keyboard.press("Enter")
        focused = "document.activeElement.dataset.number ?? document.activeElement.className"
        assert page.evaluate(focused) == "1"
        assert page.url == address
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Open"
        page.keyboard.press("Escape")
        assert page.evaluate(focused) == "cite lit"
        page.click(".sources-cited summary")
        assert not page.is_visible(".source >> nth=0")
        cites.nth(1).click()
        assert page.is_visible(".source >> nth=1"), "it opens what it leads to"
        assert page.evaluate(focused) == "2"


def test_what_posts_say_is_text_and_nothing_else(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("angle")
        assert "<b>bold</b> & [1](#x)" in page.inner_text(".source >> nth=0")
        page.click(".sources-also summary")
        text = page.locator(".sources-also .source-text")
        short = text.bounding_box()
        page.click("text=Show all of it")
        long = text.bounding_box()
        assert short is not None
        assert long is not None
        assert long["height"] > short["height"]
        assert page.evaluate("window.pwned") is None
        assert page.locator(".sources :is(img, b, script)").count() == 0


@pytest.mark.parametrize(
    ("question", "word"),
    [("who", "Partial"), ("settled", "Settled"), ("conflicting", "Conflicting"), ("unknown", "Unknown")],
)
def test_it_is_told_how_far_an_event_is_settled(visit: Visit, night: Given, question: str, word: str):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask(question)
        assert page.inner_text(".verdict").split("\n") == [word, "Mayor of Port Ellery", "as of 21:14 UTC"]
        assert page.locator(".verdict-form svg").count() == 1
        said = page.inner_text("#announcer")
        assert said.startswith(f"{word}, Mayor of Port Ellery, as of 21:14 UTC. ")
        assert page.locator(".turn.assistant h3 + .said > .verdicts + .prose").count() == 1, "heard before the words"


def test_an_event_that_nobody_registered_is_unknown(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Undeclared")
        assert page.inner_text(".verdict").split("\n") == ["Unknown", "as of 21:14 UTC"]
        assert page.inner_text("#announcer").startswith("Unknown, as of 21:14 UTC. ")
        assert page.is_visible("#persona >> text=humour off")
        visitor.ask("angle")
        assert page.inner_text(".verdict >> nth=1") == "as of 21:14 UTC", "what is no event has a time alone"


def test_the_day_is_told_where_it_is_not_today(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor, minutes=100)
        visitor.ask("Who won?")
        assert page.inner_text(".verdict-time") == "as of 21:14 UTC"
        page.clock.set_fixed_time(NIGHT + timedelta(hours=3))
        look(page)
        page.wait_for_selector(".verdict-time >> text=as of 6 May, 21:14 UTC")
        page.clock.set_fixed_time(NIGHT + timedelta(days=365))
        look(page)
        page.wait_for_selector(".source >> text=seen 6 May 2031, 21:10 UTC")


def test_what_was_held_back_is_counted_and_never_shown(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Who won?")
        assert page.inner_text(".held summary").strip() == "3 sentences were held back"
        assert not page.is_visible(".held li")
        page.focus(".held summary")
        page.keyboard.press("Enter")
        assert [one.inner_text() for one in page.locator(".held li").all()] == [
            "2 told an outcome that is not settled",
            "1 stood in no source",
        ]
        for cut in HELD:
            assert cut.text not in page.content()
        visitor.ask("refused, please")
        assert "the policy's rule “doxxing”" in page.inner_text(".refused")


def test_a_deleted_post_goes_from_an_open_page(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Who won?")
        visitor.ask("hello")
        assert "We are not calling" in page.inner_text(".prose >> nth=0")
        page.focus(".source >> nth=1 >> a")
        night.assistant.deleted.add(DESK.uri)
        look(page)
        page.wait_for_selector(".source.deleted")
        assert "Deleted by its author" in page.inner_text(".source.deleted")
        assert page.locator(".source.deleted a").count() == 0
        assert page.evaluate("document.activeElement.className.split(' ')[0]") == "source", "the focus stays there"
        for hidden in ("We are not calling", "the Old Quay's"):
            assert hidden not in page.content()
        assert [one.inner_text() for one in page.locator(".cite").all()] == ["1"]
        assert page.inner_text("#announcer") == "A source of an answer here was deleted by its author."
        assert page.inner_text(".prose >> nth=1") == "You said: hello"
        page.reload()
        page.wait_for_selector(".source.deleted")
        assert "We are not calling" not in page.content()


def test_it_is_told_when_things_have_moved_and_asked_again(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Who won?")
        assert page.locator(".stale").count() == 0
        night.assistant.moved.add("port-ellery-mayor")
        night.assistant.edited.add(COUNT.uri)
        look(page)
        page.wait_for_selector(".stale >> text=Things have moved since this was written.")
        assert "edited since" in page.inner_text(".source >> nth=0")
        assert page.inner_text("#announcer") == "Things have moved since an answer here was written."
        assert "Partial" in page.inner_text(".verdict"), "what it said then stays"
        night.assistant.moved.clear()
        page.click("text=Ask again")
        page.wait_for_selector(".turn.assistant .versions >> text=2/2")
        visitor.answered()
        assert page.locator(".stale").count() == 0


def test_nothing_is_said_or_touched_while_nothing_changes(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        visitor.ask("Who won?")
        page.click(".sources-also summary")
        page.evaluate("document.querySelector('.sources').mine = true")
        said = page.inner_text("#announcer")
        with page.expect_response("**/api/news*"):
            look(page)
        night.posts.number += 5
        with page.expect_response("**/api/news*"):
            look(page)
        page.wait_for_selector("#posts:not([hidden])")
        assert page.evaluate("document.querySelector('.sources').mine") is True
        assert page.inner_text("#announcer") == said
        assert page.locator("[aria-live] #posts, #posts [aria-live], #posts [role=status]").count() == 0


def begin(given: Given, page: Page, allowed: float) -> None:
    """Ask, and have so many characters of the answer said."""
    given.assistant.allowed = allowed
    page.fill("#question", "Who won?")
    page.keyboard.press("Enter")


def test_sources_and_citations_come_as_the_answer_grows(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        begin(night, page, 0)
        page.wait_for_selector(".sources-found >> text=Found 4 posts")
        assert page.inner_text(".verdict-form") == "Partial"
        assert page.locator(".turn.waiting .cite").count() == 0
        night.assistant.allowed = len(LEADS) + 1
        page.wait_for_selector(".turn.writing .cite")
        page.wait_for_selector(".turn.writing .sources-found >> text=Reading 3 more posts")
        assert page.get_attribute(".cite >> nth=0", "aria-label") == "Source 1: @count.portellery.example"
        night.assistant.allowed = math.inf
        visitor.answered()
        assert page.locator(".cite").count() == 3
        assert page.locator(".sources-found").count() == 0
        whole = page.inner_html("#thread .prose")
        page.reload()
        visitor.answered()
        assert page.inner_html("#thread .prose") == whole


def test_an_answer_that_is_stopped_keeps_what_it_rests_on(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        begin(night, page, len(LEADS) + 1)
        page.wait_for_selector(".turn.writing .cite")
        page.keyboard.press("Escape")
        visitor.answered()
        for _ in range(2):
            assert "You stopped this answer." in page.inner_text(".said")
            assert page.locator(".sources-cited .source").count() == 1
            assert page.inner_text(".verdict-form") == "Partial"
            assert page.inner_text(".prose").startswith(LEADS.replace("**", "")[:20])
            page.reload()
            visitor.answered()


@pytest.mark.parametrize("window", [SMALL, PHONE], ids=["360", "390"])
def test_on_a_phone_sources_stand_below_and_many_are_folded(visit: Visit, night: Given, window: dict):
    with visit(night.server, **window) as visitor:
        page = tonight(visitor)
        send(visitor, "Who won?")
        assert box(page, ".sources")["top"] >= box(page, ".prose")["bottom"]
        assert page.is_visible(".source >> nth=0"), "a few stay open"
        assert visitor.overflow() <= 0
        for question in ("many", "angle", "conflicting"):
            send(visitor, question)
            assert visitor.overflow() <= 0
        many = page.locator(".turn.assistant").nth(1)
        assert many.locator(".sources-cited summary").inner_text().strip() == "6 sources"
        assert not many.locator(".source").first.is_visible()
        many.locator(".cite").nth(4).tap()
        assert many.locator(".source").nth(4).is_visible()
        inside = "e => [...e.querySelectorAll('*')].every(c => c.getBoundingClientRect().right <= innerWidth + 0.5)"
        for holder in ("#thread", ".top", ".dock"):
            assert page.eval_on_selector(holder, inside), holder


WORDS = (
    *(".verdict[data-form=partial] .verdict-form", ".verdict[data-form=settled] .verdict-form", ".verdict-title"),
    *(".verdict[data-form=conflicting] .verdict-form", ".verdict[data-form=unknown] .verdict-form", ".verdict-time"),
    *(".stale span", ".stale .button", ".held summary", ".held li", ".cite", ".source-number", ".source-author"),
    *(".source-badge.shield", ".source-badge.pen", ".source-text", ".source-foot", ".source-foot a", ".source-gone"),
    *(".source.deleted .source-author", ".sources-also summary", ".sources summary", ".source-more"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit: Visit, night: Given, scheme: str):
    # Without motion, so that no colour is looked at on its way to another.
    with visit(night.server, color_scheme=scheme, reduced_motion="reduce") as visitor:
        page = tonight(visitor)
        for question in ("who", "settled", "conflicting", "unknown", "angle"):
            visitor.ask(question)
        night.assistant.deleted.add(DESK.uri)
        night.assistant.edited.add(COUNT.uri)
        night.assistant.moved.add("port-ellery-mayor")
        look(page)
        page.wait_for_selector(".source.deleted")
        page.wait_for_selector(".stale >> nth=3")
        for selector in WORDS:
            ink, ground = page.evaluate(COLOURS, selector)
            assert contrast(ink, ground) >= 4.5, (selector, ink, ground)
        page.hover(".cite >> nth=0")
        assert contrast(*page.evaluate(COLOURS, ".cite.lit")) >= 4.5


def test_without_motion_nothing_moves(visit: Visit, night: Given):
    with visit(night.server, reduced_motion="reduce") as visitor:
        page = tonight(visitor)
        begin(night, page, 0)
        page.wait_for_selector(".sources-found")
        moving = """() => [...document.querySelectorAll("*")].flatMap(e => [e, "::before", "::after"].map(part =>
            getComputedStyle(e, part === e ? null : part))).filter(s =>
            parseFloat(s.animationDuration) > 0.01 || parseFloat(s.transitionDuration) > 0.01).length"""
        assert page.evaluate(moving) == 0
        night.assistant.allowed = math.inf
        visitor.answered()
        page.click(".cite >> nth=0")
        assert page.evaluate("document.activeElement.dataset.number") == "1"


def test_everything_that_can_be_pressed_has_a_name_and_shows_its_focus(visit: Visit, night: Given):
    with visit(night.server) as visitor:
        page = tonight(visitor)
        night.posts.number = 12
        night.assistant.moved.add("port-ellery-mayor")
        visitor.ask("Who won?")
        page.wait_for_selector("#posts:not([hidden])")
        page.click(".sources-also summary")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, a, input, summary, section")]
                .filter(e => e.checkVisibility())
                .filter(e => !(e.getAttribute("aria-label") || e.innerText.trim() || e.labels?.length))
                .map(e => e.outerHTML)"""
        )
        assert nameless == []
        page.focus(".skip")
        reached: list[str] = []
        while len(reached) < 60 and "question" not in reached:
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("(e => e.id || e.dataset.tool || e.className.split(' ')[0])(document.activeElement)")
            )
            style = page.evaluate("(s => s.outlineStyle + s.boxShadow)(getComputedStyle(document.activeElement))")
            assert reached[-1] in ("question", "search") or style != "nonenone", reached[-1]
        order = [reached.index(one) for one in ("posts-button", "button", "cite", "again", "source-link", "question")]
        assert order == sorted(order), reached
