"""How the page looks and feels: sizes, colours, keyboard, assistive technology."""

from __future__ import annotations

import re

import pytest

from tests.server.served import Served
from tests.web.conftest import Visit

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
NARROW = {"viewport": {"width": 320, "height": 640}}


@pytest.mark.parametrize("window", [PHONE, NARROW], ids=["phone", "narrow"])
def test_nothing_sticks_out_of_a_narrow_window(visit: Visit, scripted: Served, window: dict):
    with visit(scripted, **window) as visitor:
        page = visitor.page
        visitor.open()
        assert visitor.overflow() <= 0
        for question in ("rich", "wide", "Q" * 500):
            before = page.locator(".turn.assistant").count()
            page.fill("#question", question)
            page.click("#send")
            visitor.answered(before)
            assert visitor.overflow() <= 0
            inside = "e => [...e.querySelectorAll('.turn')].every(t => t.getBoundingClientRect().right <= innerWidth)"
            assert page.eval_on_selector("#thread", inside)
        page.click("#open-sidebar")
        page.wait_for_selector("#search")
        assert visitor.overflow() <= 0
        assert page.evaluate("document.getElementById('main').inert") is True
        page.keyboard.press("Escape")
        page.wait_for_selector("#scrim", state="hidden")
        page.click("#open-sidebar")
        page.click(".conversation-link >> nth=0")
        page.wait_for_selector("#scrim", state="hidden")
        visitor.answered(2)


def test_enter_on_a_phone_is_a_new_line(visit: Visit, scripted: Served):
    with visit(scripted, **PHONE) as visitor:
        page = visitor.page
        visitor.open()
        page.tap("#question")
        page.keyboard.type("one")
        page.keyboard.press("Enter")
        page.keyboard.type("two")
        assert page.input_value("#question") == "one\ntwo"
        page.tap("#send")
        visitor.answered()


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


COLOURS = """selector => {
    const element = document.querySelector(selector);
    let ground = element;
    const clear = () => getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)";
    while (clear()) ground = ground.parentElement;
    return [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
}"""
WORDS = (
    *(".bubble", ".prose p", ".prose a", ".prose pre code", ".prose .hl-c1", ".prose .hl-k", ".measure", "#caution"),
    *(".conversation-link", ".group-title", "#title", ".persona-title", ".code-head span", ".new-button", "#theme"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit: Visit, scripted: Served, scheme: str):
    with visit(scripted, color_scheme=scheme) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("rich")
        visitor.ask("hostile")
        for selector in WORDS:
            ink, ground = page.evaluate(COLOURS, selector)
            assert contrast(ink, ground) >= 4.5, (selector, ink, ground)
        dark = luminance(page.evaluate(COLOURS, "body")[1]) < 0.1
        assert dark == (scheme == "dark")


def test_the_theme_follows_the_system_until_one_is_chosen(visit: Visit, scripted: Served):
    with visit(scripted, color_scheme="light") as visitor:
        page = visitor.page
        visitor.open()
        theme = lambda: page.get_attribute("html", "data-theme")  # noqa: E731
        assert theme() == "light"
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector("html[data-theme=dark]")
        page.click("#theme")
        assert (theme(), page.inner_text("#theme").strip()) == ("light", "Theme: light")
        page.reload()
        assert theme() == "light"
        page.click("#theme")
        assert theme() == "dark"


def test_the_keyboard_is_enough(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        press, kind = page.keyboard.press, page.keyboard.type
        visitor.open()
        kind("keyboard question one")
        press("Shift+Enter")
        kind("second line")
        press("Enter")
        visitor.answered()
        assert page.inner_text(".bubble") == "keyboard question one\nsecond line"

        press("ArrowUp")  # edit the last question
        press("Control+a")
        kind("keyboard question edited")
        press("Enter")
        page.wait_for_selector("text=You said: keyboard question edited")
        visitor.answered()

        press("Control+Shift+o")
        assert page.is_visible("#empty")
        kind("a second conversation")
        press("Enter")
        visitor.answered()

        press("Control+k")
        kind("KEYBOARD edited")
        page.wait_for_selector(".group-title >> text=Found")
        page.wait_for_selector(".conversation >> nth=1", state="detached")
        press("ArrowDown")
        press("F2")
        kind("Renamed by keys")
        press("Enter")
        page.wait_for_selector(".conversation-link >> text=Renamed by keys")
        press("Control+k")
        press("Enter")
        page.wait_for_selector("text=You said: keyboard question edited")
        assert page.inner_text("#title") == "Renamed by keys"

        press("Control+k")
        press("ArrowDown")
        press("Delete")
        page.wait_for_selector("#prompt[open]")
        press("Escape")
        page.wait_for_selector("#prompt", state="hidden")
        press("Delete")
        page.wait_for_selector("#prompt[open]")
        press("Tab")  # past Cancel, which comes first: deleting is for good
        press("Enter")
        page.wait_for_selector("#empty:not([hidden])")
        page.wait_for_selector(".list-note >> text=Nothing found")
        press("Control+k")
        press("Escape")
        press("Escape")
        page.evaluate("document.activeElement.blur()")
        press("?")
        page.wait_for_selector("#shortcuts[open]")
        press("Escape")
        press("/")
        assert page.evaluate("document.activeElement.id") == "question"
        press("Control+b")
        assert not page.is_visible("#search")
        press("Control+b")
        assert page.is_visible("#search")


def test_tab_reaches_everything_in_a_sensible_order(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("rich")
        page.focus(".skip")
        reached: list[str] = []
        while len(reached) < 150 and reached[-1:] != ["Skip"]:
            page.keyboard.press("Tab")
            name = page.evaluate(
                "(e => e === document.body ? '' : e.id || e.getAttribute('aria-label') || e.innerText.split(' ')[0])"
                "(document.activeElement)"
            )
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            if name not in ("question", "search", ""):
                assert outline != "none" or "persona" in page.evaluate("document.activeElement.name ?? ''"), name
            reached.append(name)
        for wanted in ("Copy this code", "Copy this answer", "Answer again", "question", "search", "theme"):
            assert wanted in reached, reached
        assert reached.index("search") < reached.index("Copy this code") < reached.index("question")


def test_everything_that_can_be_pressed_has_a_name(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("rich")
        page.click(".conversation-more >> nth=0")
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, a, input, textarea, select")]
                .filter(e => e.checkVisibility())
                .filter(e => !(e.getAttribute("aria-label") || e.innerText.trim() || e.labels?.length))
                .map(e => e.outerHTML)"""
        )
        assert nameless == []
        assert page.get_attribute("#thread", "role") == "log"
        assert page.get_attribute("#announcer", "aria-live") == "polite"
        assert page.get_attribute("html", "lang") == "en"


def test_the_reader_is_followed_but_never_dragged(visit: Visit, slow: Served):
    with visit(slow) as visitor:
        page = visitor.page
        visitor.open()
        gap = "(e => e.scrollHeight - e.scrollTop - e.clientHeight)(document.getElementById('scroller'))"  # to the end
        page.fill("#question", "long")
        page.keyboard.press("Enter")
        page.wait_for_selector(".block >> nth=14")
        assert page.evaluate(gap) < 5
        page.hover("#thread")
        page.mouse.wheel(0, -300)
        page.wait_for_selector("#latest:not([hidden])")
        top = page.evaluate("document.getElementById('scroller').scrollTop")
        page.wait_for_selector(".block >> nth=20")
        assert page.evaluate("document.getElementById('scroller').scrollTop") == top
        page.click("#latest")
        page.wait_for_selector(".block >> nth=24")
        assert page.evaluate(gap) < 5
        assert not page.is_visible("#latest")
        page.keyboard.press("Escape")
        visitor.answered()


def test_code_and_answers_are_copied(visit: Visit, scripted: Served):
    with visit(scripted, permissions=["clipboard-read", "clipboard-write"]) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("rich")
        page.click(".code-copy")
        page.wait_for_selector(".code-copy >> text=Copied")
        assert page.evaluate("navigator.clipboard.readText()").startswith("def moe(x, router")
        page.click("[aria-label='Copy this answer']")
        page.wait_for_selector(".tool.done")
        assert page.evaluate("navigator.clipboard.readText()").startswith("A **mixture of experts**")


def test_a_long_question_is_folded_until_wanted(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("word " * 600)
        height = "document.querySelector('.bubble').clientHeight"
        folded = page.evaluate(height)
        page.click("text=Show all of it")
        assert page.evaluate(height) > folded
