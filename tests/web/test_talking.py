"""Asking and answering on the page, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lindos.assistant import EngineChatModel, EngineError, EngineOptions, Loading
from lindos.server import Settings
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served, served
from tests.web.conftest import Visit
from tests.web.texts import LONG


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Iterator[Served]:
    """A server with a real engine."""
    settings = Settings(port=0, data=tmp_path_factory.mktemp("real"), personas=Path("nowhere"), answer_tokens=40)
    with served(settings, lambda: EngineChatModel.start(tiny_model_dir, EngineOptions(threads=1))) as running:
        yield running


def test_a_conversation_with_a_real_engine_is_found_again_after_a_reload(visit: Visit, real: Served):
    with visit(real) as visitor:
        page = visitor.page
        visitor.open()
        assert page.inner_text("#model").split() == ["tiny", "60K"]
        assert "makes things up" in page.inner_text("#caution")
        page.click(".suggestion >> nth=0")
        visitor.answered()
        page.wait_for_selector(".conversation-link[aria-current]")
        assert re.fullmatch(r".*/c/[0-9a-f]{32}", page.url)
        assert re.search(r"\d tokens?$", page.inner_text(".measure"))
        visitor.ask("How are you today?")
        thread = page.inner_text("#thread")
        html = page.inner_html(".turn.assistant >> nth=1 >> .prose")
        page.reload()
        visitor.answered(1)
        assert page.inner_text("#thread") == thread
        assert page.inner_html(".turn.assistant >> nth=1 >> .prose") == html
        assert page.title() == "Who are you? · Lindos"
        page.click("[data-action=new] >> nth=1")
        assert page.is_visible("#empty")
        page.click(".conversation-link")
        visitor.answered(1)
        assert page.inner_text("#thread") == thread


def test_what_streams_ends_up_as_what_was_said(visit: Visit, slow: Served):
    with visit(slow) as visitor:
        page = visitor.page
        visitor.open()
        page.fill("#question", "rich, please")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.assistant.writing")
        assert page.get_attribute(".turn.assistant", "aria-busy") == "true"
        assert page.inner_text("#question") == ""
        page.wait_for_selector(".turn.writing .measure >> text=tokens/s")
        visitor.answered()
        prose = page.locator(".prose")
        assert prose.locator("h3").inner_text() == "How a token travels"
        assert prose.locator("ol > li").count() == 2
        assert prose.locator("td.right").inner_text() == "14.6M"
        assert prose.locator("pre .hl-k").count() >= 2
        assert prose.locator("blockquote").count() == 1
        assert "A mixture of experts" in page.inner_text("#announcer")
        assert page.is_enabled("#question")


def test_an_answer_is_stopped_by_button_and_by_escape(visit: Visit, slow: Served):
    with visit(slow) as visitor:
        page = visitor.page
        visitor.open()
        for turn, stop in enumerate((lambda: page.click("#send"), lambda: page.keyboard.press("Escape"))):
            page.fill("#question", "long answer, please")
            page.keyboard.press("Enter")
            page.wait_for_selector(f".turn.assistant >> nth={turn} >> .block >> nth=1")
            assert page.get_attribute("#send", "aria-label") == "Stop"
            stop()
            visitor.answered(turn)
            text = page.inner_text(f".turn.assistant >> nth={turn}")
            assert "You stopped this answer." in text
            assert "Paragraph 0" in text
            assert "Paragraph 59" not in text
        page.reload()
        visitor.answered(1)
        assert page.locator("text=You stopped this answer.").count() == 2


def test_a_reload_in_the_middle_watches_on(visit: Visit, slow: Served):
    with visit(slow) as visitor:
        page = visitor.page
        visitor.open()
        page.fill("#question", "rich")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.assistant.writing")
        page.reload()
        visitor.answered()
        assert page.locator(".prose blockquote").count() == 1
        assert page.locator(".notice").count() == 0


def test_hostile_answers_do_nothing(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        visitor.open()
        for question in ("hostile", "nested", "hostile again", '<img src=x onerror="window.pwned=11">'):
            visitor.ask(question)
        for _ in range(2):
            assert page.evaluate("window.pwned") is None
            assert page.locator("#thread :is(script, img, iframe, style, svg a, object, [onclick])").count() == 0
            assert page.locator("#thread a[href^='javascript' i]").count() == 0
            assert "window.pwned = 1" in page.inner_text("#thread"), "what was said is shown, as text"
            page.reload()
            visitor.answered(3)
        picture = page.locator("#thread a", has_text="a picture").first
        assert picture.get_attribute("href") == "https://evil.example/track.png"
        assert picture.get_attribute("rel") == "noopener noreferrer nofollow"


def test_edits_and_new_tries_are_versions(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("first")
        visitor.ask("second")
        page.click(".turn.user >> nth=0 >> [data-tool=edit]")
        page.fill(".editor textarea", "first, edited")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=You said: first, edited")
        visitor.answered()
        assert page.locator(".turn").count() == 2
        assert page.inner_text(".turn.user .versions span") == "2/2"
        page.click(".turn.assistant [aria-label='Answer again']")
        page.wait_for_selector(".turn.assistant .versions >> text=2/2")
        page.click(".turn.user [aria-label='Earlier version']")
        page.wait_for_selector("text=You said: second")
        assert page.inner_text(".turn.user >> nth=0 >> .versions span") == "1/2"
        page.reload()
        page.wait_for_selector("text=You said: second")
        page.click(".turn.user >> nth=0 >> [data-tool=edit]")
        page.keyboard.press("Escape")
        assert page.inner_text(".turn.user >> nth=0 >> .bubble") == "first"


def test_another_version_shown_while_an_answer_comes_stays_as_it_is(visit: Visit, slow: Served):
    with visit(slow) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("first")
        page.click(".turn.user >> nth=0 >> [data-tool=edit]")
        page.fill(".editor textarea", "rich, edited")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.assistant.writing")
        page.click(".turn.user [aria-label='Earlier version']")
        page.wait_for_selector(".turn.user >> text=/^first$/")
        shown = page.inner_text("#thread .turn.assistant .prose")
        assert page.locator(".turn").count() == 2
        page.wait_for_function("!document.querySelector('#send').classList.contains('stopping')")
        page.click(".turn.user [aria-label='Later version']")
        page.wait_for_selector(".prose blockquote")
        visitor.answered()
        page.click(".turn.user [aria-label='Earlier version']")
        page.wait_for_selector(".turn.user >> text=/^first$/")
        assert page.locator(".turn").count() == 2
        assert page.inner_text("#thread .turn.assistant .prose") == shown
        visitor.ask("and then")
        page.reload()
        page.wait_for_selector("text=You said: and then")
        assert page.inner_text(".turn.user >> nth=0 >> .bubble") == "first"


def test_a_deleted_conversation_does_not_trap_the_way_back(visit: Visit, scripted: Served):
    with visit(scripted, quiet=False) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("gone soon")
        address = page.url
        visitor.open("/")
        page.evaluate("(path) => fetch(path, {method: 'DELETE'})", "/api/conversations/" + address.rpartition("/")[2])
        page.go_back()
        page.wait_for_selector(".toast >> text=not there any more")
        assert page.evaluate("location.pathname") == "/"
        page.go_back()
        page.wait_for_selector("#question")
        assert page.evaluate("location.pathname") == "/"


def test_enter_in_the_search_opens_what_is_found_for_what_stands_there(visit: Visit, scripted: Served):
    with visit(scripted) as visitor:
        page = visitor.page
        for question in ("about zebras", "about walruses"):
            visitor.open()
            visitor.ask(question)
        visitor.open()
        page.wait_for_selector(".conversation-link >> text=about walruses")
        page.click("#search")
        page.keyboard.type("zebras")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn.user >> text=about zebras")


def test_a_failure_is_told_kindly_and_tried_again(visit: Visit, tmp_path: Path):
    model = ScriptedChatModel("Here you are.", fault=EngineError("the engine's process is gone"))
    with served(Settings(port=0, data=tmp_path), lambda: model) as server, visit(server) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("anything")
        assert "The engine's process is gone." in page.inner_text(".failure")
        assert "Here you are." in page.inner_text(".prose")
        model.answer_fault = None
        page.click("text=Try again")
        page.wait_for_selector(".turn.assistant .versions >> text=2/2")
        visitor.answered()
        assert page.locator(".failure").count() == 0


def test_a_question_is_not_lost_when_the_server_does_not_take_it(visit: Visit, tmp_path: Path):
    model = ScriptedChatModel("Hi")
    with served(Settings(port=0, data=tmp_path), lambda: model) as server, visit(server, quiet=False) as visitor:
        page = visitor.page
        visitor.open()
        model.ready, model.loading = False, Loading("starting again", 0.0)
        page.fill("#question", "my long and careful question")
        page.keyboard.press("Enter")
        page.wait_for_selector(".toast >> text=starting again")
        assert page.input_value("#question") == "my long and careful question"
        model.ready = True
        page.keyboard.press("Enter")
        visitor.answered()


def test_a_server_that_ends_in_the_middle(visit: Visit, tmp_path: Path):
    settings = Settings(port=0, data=tmp_path)
    with served(settings, lambda: ScriptedChatModel(LONG, pause=0.03)) as server:
        visiting = visit(server, quiet=False)
        visitor = visiting.__enter__()
        visitor.open()
        visitor.page.fill("#question", "go on")
        visitor.page.keyboard.press("Enter")
        visitor.page.wait_for_selector(".turn.writing .block")
    try:
        visitor.page.wait_for_selector("text=The server ended while this was being written.")
        assert "Paragraph 0" in visitor.page.inner_text(".prose")
    finally:
        visiting.__exit__(None, None, None)


def test_while_the_model_loads_one_can_look_around(visit: Visit, tmp_path: Path):
    model = ScriptedChatModel("Hi")
    with served(Settings(port=0, data=tmp_path), lambda: model) as server, visit(server) as visitor:
        model.ready, model.loading = False, Loading("reading the weights", 0.4)
        page = visitor.page
        page.goto(server.url)
        page.wait_for_selector("#model[data-state=loading] >> text=40%")
        page.fill("#question", "typed already")
        assert page.is_disabled("#send")
        assert page.is_disabled(".suggestion >> nth=0")
        model.ready = True
        page.wait_for_selector("#model[data-state=ready]")
        assert page.is_enabled("#send")
        assert page.input_value("#question") == "typed already"


def test_what_no_longer_fits_is_told(visit: Visit, tmp_path: Path):
    model = ScriptedChatModel("Hi", dropped=3)
    with served(Settings(port=0, data=tmp_path), lambda: model) as server, visit(server) as visitor:
        visitor.open()
        visitor.ask("a question")
        assert "The oldest 3 messages do not fit into the model's memory of 1,024 tokens" in visitor.page.inner_text(
            ".notice"
        )


def test_the_persona_chosen_is_the_persona_told(visit: Visit, tmp_path: Path):
    model = ScriptedChatModel("Hi")
    with served(Settings(port=0, data=tmp_path), lambda: model) as server, visit(server) as visitor:
        page = visitor.page
        visitor.open()
        visitor.ask("one")
        page.click("#persona")
        page.click(".persona:has-text('Regular')")
        visitor.ask("two")
        page.reload()
        visitor.answered(1)
        assert page.is_checked("input[value=regular]")
        visitor.ask("three")
    systems = [asked["messages"][0].content for asked in model.asked]
    assert systems == [
        "You are Lindos. Be direct and funny.",
        "You are Lindos. Be clear and sober.",
        "You are Lindos. Be clear and sober.",
    ]


def test_a_guarded_server_asks_for_its_key_once(visit: Visit, tmp_path: Path):
    settings = Settings.parse({"port": 0, "data": tmp_path, "api_key": "open-sesame-please"})
    with (
        served(settings, lambda: ScriptedChatModel("Hi")) as server,
        visit(server, quiet=False) as visitor,  # the browser itself notes a 401
    ):
        page = visitor.page
        page.goto(server.url)
        page.wait_for_selector("#prompt[open]")
        page.fill("#prompt-input", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#prompt >> text=that is not this server's API key")
        page.fill("#prompt-input", "open-sesame-please")
        page.keyboard.press("Enter")
        page.wait_for_selector("#model[data-state=ready]")
        visitor.ask("anything")
        page.reload()
        visitor.answered()
        assert not page.is_visible("#prompt")
