"""Replicas: who gets which request, who takes over, who is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.assistant import (
    ChatModel,
    EngineChatModel,
    EngineDied,
    EngineError,
    EngineOptions,
    QueueFull,
    Replicas,
    RequestError,
    Sampling,
    Stats,
    UpstreamChatModel,
    UpstreamOptions,
    connect,
)
from lindos.assistant.balance import LONGEST_ASIDE_SECONDS, Load, Seat, choose
from lindos.server import Settings
from lindos.specs import Message, SpecError
from tests.assistant.misbehaving import Got, Reply, chunk, refuses, says, serving
from tests.server.scripted import INFO, ScriptedChatModel
from tests.server.served import served

PATIENCE = 250
HELLO = [Message(role="user", content="Hello")]

LOADS = st.builds(
    Load,
    ready=st.booleans(),
    under_way=st.integers(0, 3),
    waiting=st.integers(0, 1),
    failures=st.integers(0, 3),
    aside_until=st.floats(0, 20),
    latency=st.floats(0, 5),
    latency_at=st.floats(0, 10),
)


# The choice.


@given(st.lists(LOADS, max_size=6), st.frozensets(st.integers(0, 5)), st.floats(10, 30))
def test_the_least_loaded_of_the_fit_is_chosen(loads: list[Load], tried: frozenset[int], now: float):
    number = choose(loads, now, tried)
    open_to = [n for n, load in enumerate(loads) if load.ready and n not in tried]
    if number is None:
        assert not open_to
        return
    assert number in open_to
    fit = [n for n in open_to if loads[n].fit(now)]
    if fit:
        assert number in fit
        assert loads[number].under_way == min(loads[n].under_way for n in fit)
        equals = [n for n in fit if loads[n].under_way == loads[number].under_way]
        known = [loads[n].latency for n in open_to if loads[n].latency]
        usual = sum(known) / len(known) if known else 0.0
        assert loads[number].expected(now, usual) == min(loads[n].expected(now, usual) for n in equals)
    else:
        assert loads[number].aside_until == min(loads[n].aside_until for n in open_to)


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=5), st.lists(st.sampled_from(["ask", "end"]), max_size=60), st.data()
)
def test_answers_are_spread_evenly_whatever_ends_when(latencies: list[float], steps: list[str], data: st.DataObject):
    loads = [Load(latency=latency) for latency in latencies]
    seats: list[tuple[int, Seat]] = []
    for step in steps:
        if step == "ask":
            before = [load.under_way for load in loads]
            number = choose(loads, 0.0)
            assert number is not None
            assert before[number] == min(before)
            seats.append((number, Seat(loads[number], 0.0)))
        elif seats:
            number, seat = seats.pop(data.draw(st.integers(0, len(seats) - 1)))
            seat.leave()
            seat.leave()
        assert sum(load.under_way for load in loads) == len(seats) == sum(load.waiting for load in loads)
        if "end" not in steps:
            counts = [load.under_way for load in loads]
            assert max(counts) - min(counts) <= 1


def test_one_that_fails_is_left_alone_longer_and_longer_and_then_tried_with_one_request():
    load, now = Load(), 0.0
    pauses = []
    for _ in range(10):
        load.failed(now)
        load.failed(now)  # others that were under way fail with it: one failure
        pauses.append(load.aside_until - now)
        assert not load.fit(now)
        now = load.aside_until
        assert load.fit(now)
    assert pauses == [min(0.5 * 2**n, LONGEST_ASIDE_SECONDS) for n in range(10)]
    trial = Seat(load, now)
    assert not load.fit(now)
    trial.begin(now + 0.1)
    assert load.fit(now)
    assert load.failures == 0
    other = Load()
    assert choose([other, load], now) == 0  # fewer under way
    trial.leave()
    load.failed(now)
    assert choose([load], now) == 0  # better than nobody
    assert choose([load, other], now) == 1


def test_what_is_known_of_latency_fades():
    load = Load()
    load.began(1.0, now=0.0)
    load.began(2.0, now=0.0)
    assert load.latency == pytest.approx(1.2)
    assert load.latency_now(30.0) == pytest.approx(0.6)
    assert choose([load, Load(latency=1.0, latency_at=0.0)], now=0.0) == 1


# Over scripted models.


@asynccontextmanager
async def together(*models: Any, **ways: Any) -> AsyncIterator[Replicas]:
    replicas = Replicas(models, **ways)
    try:
        async with asyncio.timeout(PATIENCE):
            yield replicas
    finally:
        await replicas.close()


async def text_of(model: ChatModel, **ways: Any) -> str:
    async with await model.submit(HELLO, **ways) as answer:
        return "".join([piece.text async for piece in answer])


class Unwilling(ScriptedChatModel):
    """Takes every request and fails before its first token."""

    def __init__(self, fault: EngineError) -> None:
        super().__init__("", fault=fault)


def test_as_one_model():
    async def main() -> None:
        first, second = ScriptedChatModel("one"), ScriptedChatModel("two", info=replace(INFO, context=512))
        async with together(first, second) as model:
            info = await model.wait_ready()
            assert model.ready
            assert info == model.info == replace(INFO, context=512)
            ways = {"sampling": Sampling(max_tokens=3), "truncate": "oldest", "priority": 2, "client": "me"}
            answers = [await model.submit(HELLO, **ways) for _ in range(4)]
            assert model.under_way() == [2, 2]
            for answer in answers:
                assert "".join([piece.text async for piece in answer]) in ("one", "two")
                assert answer.finish == "stop"
                assert answer.usage.completion_tokens == 1
            assert model.under_way() == [0, 0]
            assert len(first.asked) == len(second.asked) == 2
            assert first.asked[0] == {"messages": HELLO, "prompt": None, **ways}
        with pytest.raises(EngineDied):
            await model.submit(HELLO)

    asyncio.run(main())


def test_names_have_to_agree_or_to_be_covered_by_one():
    other = replace(INFO, name="other")

    async def main() -> None:
        async with together(ScriptedChatModel("x"), ScriptedChatModel("y", info=other), labels=["a", "b"]) as model:
            with pytest.raises(EngineError, match="scripted at a, other at b"):
                await model.wait_ready()
            assert "different models" in str(await model.wait_fault())
            assert not model.ready
        async with together(ScriptedChatModel("x"), ScriptedChatModel("y", info=other), name="both") as model:
            assert (await model.wait_ready()).name == "both"
            assert {await text_of(model), await text_of(model)} <= {"x", "y"}
        with pytest.raises(EngineError, match="no replicas"):
            Replicas([])

    asyncio.run(main())


def test_one_that_comes_back_as_another_model_gets_no_requests(caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        first, second = ScriptedChatModel("one"), ScriptedChatModel("two")
        async with together(first, second, labels=["a", "b"]) as model:
            await model.wait_ready()
            second.info = replace(INFO, name="other")
            assert [await text_of(model) for _ in range(3)] == ["one"] * 3
            second.info = INFO
            first.ready = False
            assert await text_of(model) == "two"

    asyncio.run(main())
    assert caplog.text.count("b serves other, not scripted") == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_what_fails_before_it_began_goes_elsewhere_and_nobody_notices(at_once: bool):
    async def main() -> None:
        fault = EngineDied("gone")
        bad = ScriptedChatModel("", refusal=fault) if at_once else Unwilling(fault)
        good = ScriptedChatModel("good")
        async with together(bad, good) as model:
            await model.wait_ready()
            assert [await text_of(model) for _ in range(4)] == ["good"] * 4
            assert model.under_way() == [0, 0]
            assert len(good.asked) == 4

    asyncio.run(main())


def test_what_fails_everywhere_is_the_last_ones_error():
    async def main() -> None:
        models = [Unwilling(EngineError("first")), Unwilling(EngineError("second"))]
        async with together(*models) as model:
            await model.wait_ready()
            answer = await model.submit(HELLO)
            with pytest.raises(EngineError, match=r"first|second"):
                await anext(answer)
            assert model.under_way() == [0, 0]
            assert answer.timing is not None
            assert [len(one.asked) for one in models] == [2, 2]  # each once more, and no more than that

    asyncio.run(main())


def test_a_single_one_that_stumbles_is_asked_once_more():
    class Stumbling(ScriptedChatModel):
        async def submit(self, *args: Any, **ways: Any) -> Any:
            self.refusal = EngineError("stumbled") if not self.asked else None
            self.asked.append({})
            return await super().submit(*args, **ways)

    async def main() -> None:
        async with together(Stumbling("there")) as model:
            await model.wait_ready()
            assert await text_of(model) == "there"

    asyncio.run(main())


def test_what_fails_later_is_an_error():
    async def main() -> None:
        bad, good = ScriptedChatModel("begun", fault=EngineError("broke")), ScriptedChatModel("good", pause=10)
        async with together(bad, good) as model:
            await model.wait_ready()
            answer = await model.submit(HELLO)
            assert (await anext(answer)).text == "begu"
            assert (await anext(answer)).text == "n"
            with pytest.raises(EngineError, match="broke"):
                await anext(answer)
            assert len(good.asked) == 0
            assert answer.usage.completion_tokens == 2

    asyncio.run(main())


def test_a_request_at_fault_is_nobody_elses():
    async def main() -> None:
        first, second = (ScriptedChatModel("", refusal=RequestError("no", param="top_k")) for _ in range(2))
        async with together(first, second) as model:
            await model.wait_ready()
            with pytest.raises(RequestError) as caught:
                await model.submit(HELLO)
            assert caught.value.param == "top_k"
            first.refusal = second.refusal = None
            assert await text_of(model) == ""  # neither was put aside for it

    asyncio.run(main())


def test_full_only_when_all_are():
    async def main() -> None:
        first, second = ScriptedChatModel("", refusal=QueueFull("full")), ScriptedChatModel("two")
        async with together(first, second) as model:
            await model.wait_ready()
            assert [await text_of(model) for _ in range(3)] == ["two"] * 3
            second.refusal = QueueFull("full")
            with pytest.raises(QueueFull, match="all replicas"):
                await model.submit(HELLO)
            first.refusal = None
            assert await text_of(model) == ""

    asyncio.run(main())


def test_one_that_was_taken_waits_for_a_place_elsewhere():
    async def main() -> None:
        bad, good = Unwilling(EngineError("gone")), ScriptedChatModel("good", refusal=QueueFull("full"))
        async with together(bad, good) as model:
            await model.wait_ready()
            answer = await model.submit(HELLO)
            await asyncio.sleep(0.2)
            good.refusal = None
            assert "".join([piece.text async for piece in answer]) == "good"

    asyncio.run(main())


def test_cancelling_reaches_the_replica_wherever_the_request_is():
    async def main() -> None:
        only = ScriptedChatModel("a long answer " * 50, pause=0.01)
        async with together(only) as model:
            await model.wait_ready()
            async with await model.submit(HELLO) as answer:
                await anext(answer)
            assert answer.finish == "cancelled"
            assert only.answers[0].cancelled
            assert model.under_way() == [0]
            only.refusal = QueueFull("full")

    asyncio.run(main())


def test_closing_lets_short_answers_finish_and_ends_long_ones():
    async def main() -> None:
        class Endless(ScriptedChatModel):
            async def close(self) -> None:
                for answer in self.answers:
                    answer._fault, answer._pieces = EngineDied("closed"), []

        short, long = ScriptedChatModel("short", pause=0.05), Endless("long " * 10_000, pause=0.05)
        async with together(short, long, drain_seconds=0.5) as model:
            await model.wait_ready()
            answers = [await model.submit(HELLO) for _ in range(2)]
            await model.close()
        async for _ in answers[0]:
            pass
        assert answers[0].finish == "stop"
        with pytest.raises(EngineDied):
            async for _ in answers[1]:
                pass

    asyncio.run(main())


def test_when_no_replica_is_left_that_is_a_fault():
    async def main() -> None:
        models = [ScriptedChatModel("x"), ScriptedChatModel("y")]
        async with together(*models, labels=["a", "b"]) as model:
            await model.wait_ready()
            models[0].fault = EngineDied("one is gone")
            models[0].ready = False
            assert await text_of(model) == "y"
            models[1].fault = EngineDied("so is the other")
            models[1].ready = False
            fault = await model.wait_fault()
            assert str(fault).startswith("no replica is left\n")
            assert "b: so is the other" in str(fault)
            with pytest.raises(EngineError):
                await model.submit(HELLO)

    asyncio.run(main())


def test_stats_are_sums():
    class Counted(ScriptedChatModel):
        async def stats(self) -> Stats:
            return Stats(1, 2, 0, 0, 0, 2.5, 10, 20, 0, {"stop": 3}, 0, 0, 0.0, 0)

    async def main() -> None:
        async with together(Counted("x"), Counted("y"), ScriptedChatModel("does not tell")) as model:
            await model.wait_ready()
            stats = await model.stats()
        assert (stats.running, stats.waiting, stats.tokens_per_second) == (2, 4, 5.0)
        assert (stats.completion_tokens, stats.finished) == (40, {"stop": 6})

    asyncio.run(main())


def test_engines_are_replicas_too(tiny_model_dir: Path):
    async def main() -> None:
        models = [EngineChatModel.start(tiny_model_dir, EngineOptions(threads=1)) for _ in range(2)]
        async with together(*models) as model:
            await model.wait_ready()
            while not all(one.ready for one in models):
                await asyncio.sleep(0.05)
            answers = [await model.submit(HELLO, sampling=Sampling(max_tokens=4, seed=1)) for _ in range(4)]
            texts = {"".join([piece.text async for piece in answer]) for answer in answers}
            assert len(texts) == 1  # the same model and seed, wherever
            stats = [await one.stats() for one in models]
            assert [one.prompt_tokens > 0 for one in stats] == [True, True]

    asyncio.run(main())


# Over real servers.


def test_a_replica_that_dies_under_load_takes_no_request_with_it_that_had_not_begun():
    """Three servers, forty askers, one server killed in the middle."""
    asked = 0
    deep = [0, 0, 0]

    def handle_of(number: int) -> Callable[[Got, Reply], Any]:
        async def handle(_: Got, reply: Reply) -> None:
            await asyncio.sleep(0.03)  # a while in which nothing has begun
            await reply.head()
            deep[number] += 1
            try:
                for word in range(12):
                    await reply.event(chunk(f"{number}.{word} "))
                    await asyncio.sleep(0.01)
            finally:
                deep[number] -= 1
            await reply.event(chunk(finish="stop"))
            await reply.event("[DONE]")

        return handle

    async def ask(model: ChatModel) -> tuple[str, str]:
        nonlocal asked
        asked += 1
        text = ""
        try:
            async with await model.submit(HELLO) as answer:
                async for piece in answer:
                    text += piece.text
        except EngineError:
            return text, "broken"
        return text, "whole"

    async def asker(model: ChatModel, until: Callable[[], bool]) -> list[tuple[str, str]]:
        found = []
        while not until():
            found.append(await ask(model))
        return found

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(serving(handle_of(number))) for number in range(3)]
            model = connect([UpstreamOptions(url=server.url, probe_seconds=0.2) for server in servers])
            stack.push_async_callback(model.close)
            assert isinstance(model, Replicas)
            await model.wait_ready()
            over = False
            askers = []
            for _ in range(40):
                askers.append(asyncio.create_task(asker(model, lambda: over)))
                await asyncio.sleep(0.005)  # not all in step
            while min(len(server.got) for server in servers) < 30:
                await asyncio.sleep(0.01)
            taken = [len(server.got) for server in servers]
            assert max(taken) < 2 * min(taken)
            while not (0 < deep[1] < model.under_way()[1]):  # some have begun there, some have not
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            before = [len(server.got) for server in servers]
            await servers[1].die()
            while min(len(servers[n].got) - before[n] for n in (0, 2)) < 60:
                await asyncio.sleep(0.01)
            assert model.under_way()[1] == 0
            after = [len(servers[n].got) - before[n] for n in (0, 2)]
            assert max(after) < 2 * min(after)
            over = True
            answers = [answer for found in await asyncio.gather(*askers) for answer in found]
            assert len(answers) == asked > 150
            for text, how in answers:
                words = text.split()
                number = words[0].partition(".")[0] if words else "?"
                # Never two servers in one answer, never a word twice or left out.
                assert words == [f"{number}.{word}" for word in range(len(words))]
                assert len(words) == 12 if how == "whole" else words  # its end may be all that was lost
                # Only what had begun at the dead one broke; what had not went elsewhere.
                assert how == "whole" or number == "1"
            assert 0 < sum(how == "broken" for _, how in answers) <= 40
            assert model.under_way() == [0, 0, 0]

    asyncio.run(main())


def test_a_replica_that_comes_back_gets_requests_again():
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            stays = await stack.enter_async_context(serving(says("stays", pause=0.05)))
            async with serving(says("goes")) as goes:
                port = int(goes.url.split(":")[2].split("/")[0])
                model = connect([UpstreamOptions(url=one.url, probe_seconds=0.1) for one in (stays, goes)])
                stack.push_async_callback(model.close)
                await model.wait_ready()
            for _ in range(3):
                assert await text_of(model) == "stays"
            back = await stack.enter_async_context(serving(says("back"), port=port))
            while not back.got:
                found = await asyncio.gather(*(text_of(model) for _ in range(4)))
                assert set(found) <= {"stays", "back"}

    asyncio.run(main())


def test_a_busy_replica_is_no_dead_one():
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), serving(refuses(503, {})) as busy, serving(says("free")) as free:
            model = connect([UpstreamOptions(url=one.url) for one in (busy, free)])
            await model.wait_ready()
            assert [await text_of(model) for _ in range(3)] == ["free"] * 3
            busy.handle = says("now me")
            answers = await asyncio.gather(*(text_of(model) for _ in range(2)))
            assert sorted(answers) == ["free", "now me"]
            await model.close()

    asyncio.run(main())


def test_how_many_addresses():
    async def main() -> None:
        with pytest.raises(SpecError, match="at least one"):
            connect([])
        with pytest.raises(SpecError, match="twice"):
            connect([UpstreamOptions(url="http://127.0.0.1:1"), UpstreamOptions(url="http://127.0.0.1:1/v1/")])
        one = connect([UpstreamOptions(url="http://127.0.0.1:1")])
        assert isinstance(one, UpstreamChatModel)
        await one.close()

    asyncio.run(main())


def test_lindos_over_lindos(tmp_path: Path):
    """Two servers of ours as upstreams of a third: one API in front of all."""
    import httpx

    def scripted(words: str) -> Callable[[], ScriptedChatModel]:
        return lambda: ScriptedChatModel(words, pause=0.005)

    with (
        served(Settings(port=0, data=tmp_path / "a"), scripted("Chares built it.")) as first,
        served(Settings(port=0, data=tmp_path / "b"), scripted("Chares built it.")) as second,
    ):
        options = [UpstreamOptions(url=one.url, kind="lindos") for one in (first, second)]
        with (
            served(Settings(port=0, data=tmp_path / "c"), lambda: connect(options)) as front,
            httpx.Client(base_url=front.url, timeout=60) as client,
        ):
            assert client.get("/ready").status_code == 200
            asked = {"model": "scripted", "messages": [{"role": "user", "content": "Who built it?"}]}
            whole = client.post("/v1/chat/completions", json=asked).json()
            assert whole["choices"][0]["message"]["content"] == "Chares built it."
            assert whole["usage"]["completion_tokens"] == 4
            with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as response:
                events = [line for line in response.iter_lines() if line]
            assert events[-1] == "data: [DONE]"
            refused = client.post("/v1/chat/completions", json={**asked, "top_k": 3, "repetition_penalty": 1.5})
            assert refused.status_code == 200
            first.run(first.service.model.close())
            page = client.get("/api/state").json()
            assert page["model"]["name"] == "scripted"


@pytest.mark.parametrize("hung", [0, 1])
def test_one_that_never_answers_does_not_draw_the_requests_whose_clients_leave(hung: int):
    loads, now, picks = [Load(), Load()], 100.0, []
    for _ in range(10):
        now += 60.0
        number = choose(loads, now)
        assert number is not None
        picks.append(number)
        seat = Seat(loads[number], now)
        if number == hung:
            seat.give_up(now + 20.0)
        else:
            seat.begin(now + 0.3)
        seat.leave()
    assert picks.count(hung) <= 1
