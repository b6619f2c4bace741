"""UpstreamChatModel against servers that behave, and against servers that do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lindos.assistant import ChatModel, Chunk, EngineDied, EngineError, QueueFull, RequestError, Sampling, Usage
from lindos.assistant.upstream import UpstreamAnswer, UpstreamChatModel, UpstreamOptions
from lindos.specs import Message
from tests.assistant.misbehaving import (
    Got,
    Handle,
    Reply,
    Server,
    chunk,
    in_turn,
    refuses,
    says,
    serving,
    streams,
)

PATIENCE = 250
HELLO = [Message(role="user", content="Hello")]
LONG_TALK = [
    Message(role="system", content="Be brief."),
    *(Message(role="user" if turn % 2 == 0 else "assistant", content=f"turn {turn} " * 10) for turn in range(9)),
]


@asynccontextmanager
async def upstream(
    handle: Handle, models: Any = "tiny", **options: Any
) -> AsyncIterator[tuple[UpstreamChatModel, Server]]:
    async with serving(handle, models) as server:
        given = {"backoff_seconds": 0.01, **options}
        model = UpstreamChatModel.start(UpstreamOptions(url=server.url, **given))
        try:
            await model.wait_ready()
            yield model, server
        finally:
            await model.close()


def run(handle: Handle, work: Callable[[UpstreamChatModel, Server], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), upstream(handle, **options) as (model, server):
            await work(model, server)

    asyncio.run(main())


async def read(model: ChatModel, sampling: Sampling | None = None, **ways: Any) -> tuple[str, Any, list[Chunk]]:
    async with await model.submit(HELLO, sampling=sampling, **ways) as answer:
        chunks = [chunk async for chunk in answer]
    return "".join(chunk.text for chunk in chunks), answer, chunks


def test_an_answer_comes_in_pieces_with_the_upstreams_counts():
    async def work(model: UpstreamChatModel, server: Server):
        text, answer, chunks = await read(model, Sampling(max_tokens=5, temperature=0.3))
        assert text == "Hé, you"
        assert answer.usage == chunks[-1].usage == Usage(7, 3)
        assert answer.finish == chunks[-1].finish == "stop"
        assert not answer.estimated
        assert sum(one.tokens for one in chunks) == 3
        assert 0 <= answer.timing.queued <= answer.timing.first_token <= answer.timing.total
        (got,) = server.got
        assert got.path == "/v1/chat/completions"
        assert got.body["messages"] == [{"role": "user", "content": "Hello"}]
        assert (got.body["model"], got.body["stream"], got.body["temperature"]) == ("tiny", True, 0.3)
        assert got.body["stream_options"] == {"include_usage": True}
        stats = await model.stats()
        assert (stats.running, stats.waiting, stats.prompt_tokens, stats.completion_tokens) == (0, 0, 7, 3)
        assert stats.finished == {"stop": 1}

    run(says("Hé", ", ", "you"), work)


def test_raw_texts_go_to_completions():
    async def handle(_: Got, reply: Reply) -> None:
        await reply.head()
        await reply.event({"choices": [{"index": 0, "text": " a time", "finish_reason": None}]})
        await reply.event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": None})
        await reply.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        await reply.event("[DONE]")

    async def work(model: UpstreamChatModel, server: Server):
        async with await model.submit(prompt="Once upon", sampling=Sampling(max_tokens=2)) as answer:
            text = "".join([piece.text async for piece in answer])
        assert (text, answer.finish, answer.usage) == (" a time", "length", Usage(3, 2))
        assert server.got[0].path == "/v1/completions"
        assert server.got[0].body["prompt"] == "Once upon"

    run(handle, work)


def test_the_model_its_context_and_its_key(caplog: pytest.LogCaptureFixture):
    seen: list[str | None] = []

    async def models(got: Got, reply: Reply) -> None:
        seen.append(got.headers.get("authorization"))
        await reply.json({"data": [{"id": "big", "max_model_len": 4096}, {"id": "adapter", "parent": "big"}]})

    async def work(model: UpstreamChatModel, server: Server):
        assert (model.info.name, model.info.context, model.info.note) == ("big", 4096, "")
        assert model.loading.fraction == 1.0
        await read(model)
        assert seen == ["Bearer sk-secret-123"]
        assert server.got[0].headers["authorization"] == "Bearer sk-secret-123"

    with caplog.at_level("DEBUG"):
        run(says("x"), work, models=models, key="sk-secret-123")
    assert "sk-secret" not in caplog.text


def test_llama_cpp_tells_the_context_of_a_request_elsewhere():
    async def handle(got: Got, reply: Reply) -> None:
        assert got.path == "/props"
        await reply.json({"default_generation_settings": {"n_ctx": 2048}})

    async def work(model: UpstreamChatModel, server: Server):
        assert model.info.context == 2048

    run(handle, work, models={"data": [{"id": "m", "meta": {"n_ctx_train": 131072}}]}, kind="llama.cpp")


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}]}, {}, "several models.*a, b"),
        ({"data": [{"id": "llama-70b"}]}, {"model": "llama-7b"}, "no model 'llama-7b'; did you mean 'llama-70b'"),
        (refuses(401, {"error": {"message": "bad key sk-123"}}), {}, "refuses the key .HTTP 401"),
        (refuses(404, {}), {}, "lists no models"),
    ],
)
def test_an_upstream_that_will_never_do_is_a_fault_at_once(models: Any, options: dict[str, Any], words: str):
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), serving(says("x"), models) as server:
            model = UpstreamChatModel.start(UpstreamOptions(url=server.url, **options))
            with pytest.raises(EngineError, match=words) as caught:
                await model.wait_ready()
            assert "sk-123" not in str(caught.value)
            assert str(await model.wait_fault()) == str(model.fault)
            assert not model.ready
            with pytest.raises(EngineError, match=words):
                await model.submit(HELLO)
            await model.close()

    asyncio.run(main())


def test_a_listed_name_is_not_needed_where_nothing_is_listed():
    async def work(model: UpstreamChatModel, server: Server):
        assert model.info.name == "named"
        assert (await read(model))[0] == "x"

    run(says("x"), work, models=refuses(404, {}), model="named")


def test_the_first_of_two_names_of_a_lindos_is_meant():
    async def work(model: UpstreamChatModel, _: Server):
        assert model.info.name == "pebble"

    run(says("x"), work, models={"data": [{"id": "pebble"}, {"id": "lindos"}]}, kind="lindos")


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, error("temperature is too hot", param="temperature"), RequestError, "too hot"),
        (422, {"detail": [{"msg": "extra"}]}, RequestError, "extra"),
        (401, error("Incorrect API key provided: sk-abc"), EngineError, "refuses the key"),
        (403, {}, EngineError, "refuses the key"),
        (404, error("The model `tiny` does not exist"), EngineError, "no model 'tiny'.*does not exist"),
        (413, {}, RequestError, "too large"),
        (429, error("slow down"), QueueFull, "busy.*slow down"),
        (429, error("no money", code="insufficient_quota"), EngineError, "used up"),
        (503, {}, QueueFull, "busy"),
        (500, {}, EngineError, "failed .HTTP 500"),
        (302, {}, EngineError, "redirect"),
        (400, "<html>nonsense</html>", RequestError, "HTTP 400"),
    ],
)
def test_refusals_are_our_errors(status: int, body: Any, kind: type[EngineError], words: str):
    async def work(model: UpstreamChatModel, server: Server):
        with pytest.raises(EngineError, match=words) as caught:
            await model.submit(HELLO)
        assert type(caught.value) is kind
        assert "sk-abc" not in str(caught.value)
        tries = 3 if status in (503, 500) or (status == 429 and kind is QueueFull) else 1
        assert len(server.got) == tries
        if isinstance(caught.value, RequestError) and status == 400:
            assert caught.value.param == (body["error"]["param"] if isinstance(body, dict) else None)
        assert (await model.stats()).running == 0

    run(refuses(status, body), work, retries=2)


def test_a_busy_upstream_is_waited_for_as_long_as_it_says():
    async def work(model: UpstreamChatModel, server: Server):
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert (await read(model))[0] == "x"
        assert loop.time() - started >= 0.3
        assert len(server.got) == 2

    run(in_turn([refuses(429, {}, Retry_After="0.3"), says("x")]), work)


def test_one_that_wants_too_long_a_rest_is_full_at_once():
    async def work(model: UpstreamChatModel, server: Server):
        with pytest.raises(QueueFull):
            await model.submit(HELLO)
        assert len(server.got) == 1

    run(refuses(503, {}, Retry_After="3600"), work)


def test_what_breaks_before_the_first_token_is_tried_again():
    async def gone(_: Got, reply: Reply) -> None:
        reply.abort()

    async def empty(_: Got, reply: Reply) -> None:
        await reply.head()
        await reply.event(chunk("", role="assistant"))
        reply.abort()

    async def work(model: UpstreamChatModel, server: Server):
        assert (await read(model))[0] == "x"
        assert len(server.got) == 4

    garbage = streams(b"data: {nonsense\n\n")
    run(in_turn([gone, empty, garbage, says("x")]), work)


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"", "broke off before its end"),
        (b"data: {nonsense\n\n", "nonsense.*not JSON"),
        (b'data: {"error": {"message": "CUDA out of memory"}}\n\n', "CUDA out of memory"),
        (b'data: {"object": "error", "message": "worker lost", "code": 500}\n\n', "worker lost"),
        (b'event: error\ndata: {"error": "plain words"}\n\n', "plain words"),
        (b"data: [1, 2]\n\n", "no JSON object"),
        (b'data: {"choices": 5}\n\n', "choices"),
        (b'data: {"choices": [{"delta": {"content": 5}}]}\n\n', "content that is no text"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "content_filter"}]}\n\n', "content filter"),
        (b'data: {"choices": [{"delta": {}, "finish_reason": "abort"}]}\n\n', "aborted"),
    ],
)
def test_what_breaks_later_is_an_error_and_never_begun_anew(tail: bytes, words: str):
    head = f"data: {json.dumps(chunk('Once'))}\n\n".encode()

    async def work(model: UpstreamChatModel, server: Server):
        answer = await model.submit(HELLO)
        assert (await anext(answer)).text == "Once"
        with pytest.raises(EngineError, match=words):
            await anext(answer)
        assert len(server.got) == 1
        assert answer.usage.completion_tokens == 1
        assert answer.timing is not None
        assert answer.finish is None
        assert (await model.stats()).finished == {"error": 1}

    run(streams(head, tail), work)


def test_streams_of_odd_shapes_are_understood():
    once = json.dumps(chunk("né"), ensure_ascii=False).encode()
    cut = once.index("é".encode()) + 1
    pieces: list[bytes | float] = [
        b"\xef\xbb\xbf: hello\r\n\r\n: still here\n\n",
        b"event: message\r\nid: 1\r\ndata: " + once[:cut],
        0.05,
        once[cut:] + b"\r",
        0.05,
        b"\n\r\n",
        b"data: {\n",
        b'data:"choices": [{"delta": {"content": null, "reasoning_content": "hm"}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"content": " vu"}, "finish_reason": "stop"}]}\n\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}}',
    ]

    async def work(model: UpstreamChatModel, _: Server):
        text, answer, chunks = await read(model)
        assert chunks[-1].usage == answer.usage
        assert (text, answer.finish, answer.usage, answer.estimated) == ("né vu", "stop", Usage(4, 3), False)

    run(streams(*pieces), work)


def test_a_whole_answer_instead_of_a_stream_is_taken():
    whole = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "All at once."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}},
    }

    async def work(model: UpstreamChatModel, _: Server):
        text, answer, chunks = await read(model)
        assert (text, answer.usage) == ("All at once.", Usage(2, 4, 1))
        assert sum(one.tokens for one in chunks) == 4

    run(refuses(200, whole), work)


def test_without_counts_they_are_estimated_and_called_so():
    async def handle(_: Got, reply: Reply) -> None:
        await reply.head()
        for text in ("a", "b", "c"):
            await reply.event(chunk(text))
        await reply.event(chunk(finish="stop"))

    async def work(model: UpstreamChatModel, _: Server):
        answer = (await read(model))[1]
        assert answer.estimated
        assert answer.usage == Usage(2, 3)  # five characters of prompt, three pieces

    run(handle, work)


def test_counts_beside_every_piece_are_exact_when_the_answer_is_cut():
    async def handle(_: Got, reply: Reply) -> None:
        await reply.head()
        for number in range(1, 1000):
            counts = {"prompt_tokens": 9, "completion_tokens": 2 * number}
            await reply.event(chunk("two ", usage=counts))
            await asyncio.sleep(0.01)

    async def work(model: UpstreamChatModel, server: Server):
        assert server.got == []
        async with await model.submit(HELLO) as answer:
            await anext(answer)
            answer.cancel()
            rest = [piece async for piece in answer]
        assert isinstance(answer, UpstreamAnswer)
        assert rest[-1].finish == answer.finish == "cancelled"
        assert not answer.estimated
        assert answer.usage == Usage(9, 2 * (1 + sum(bool(piece.text) for piece in rest)))
        assert server.got[0].body["stream_options"]["continuous_usage_stats"] is True
        await left(server, 1)

    run(handle, work, kind="vllm")


async def left(server: Server, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while server.left < count:
            await asyncio.sleep(0.01)


async def forever(_: Got, reply: Reply) -> None:
    await reply.head()
    while True:
        await reply.event(chunk("on "))
        await asyncio.sleep(0.01)


async def silent(_: Got, reply: Reply) -> None:
    await asyncio.sleep(3600)


def test_cancelling_closes_the_connection_at_once_at_any_stage():
    async def work(model: UpstreamChatModel, server: Server):
        async with await model.submit(HELLO) as answer:
            await anext(answer)
        assert answer.finish == "cancelled"
        await left(server, 1)
        server.handle = silent
        asking = asyncio.create_task(model.submit(HELLO))
        while len(server.got) < 2:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await left(server, 2)
        assert (await model.stats()).running == (await model.stats()).waiting == 0

    run(forever, work)


def test_closing_ends_what_is_under_way():
    async def work(model: UpstreamChatModel, server: Server):
        answer = await model.submit(HELLO)
        await anext(answer)
        await model.close()
        with pytest.raises(EngineDied):
            async for _ in answer:
                pass
        await left(server, 1)
        with pytest.raises(EngineDied):
            await model.submit(HELLO)
        assert isinstance(await model.wait_fault(), EngineDied)

    run(forever, work)


def test_no_more_than_so_many_at_a_time():
    async def work(model: UpstreamChatModel, _: Server):
        first = await model.submit(HELLO)
        with pytest.raises(QueueFull):
            await model.submit(HELLO)
        first.cancel()
        await first.wait()
        second = await model.submit(HELLO)
        second.cancel()
        await second.wait()

    run(forever, work, max_requests=1)


def test_a_silent_upstream_is_not_waited_for_for_ever():
    async def comments(_: Got, reply: Reply) -> None:
        await reply.head()
        while True:
            await reply.send(b": still here\n\n")
            await asyncio.sleep(0.02)

    async def stuck(_: Got, reply: Reply) -> None:
        await reply.head()
        await reply.event(chunk("one"))
        await asyncio.sleep(3600)

    async def work(model: UpstreamChatModel, server: Server):
        with pytest.raises(EngineError, match=r"no token within 0\.2 s"):
            await read(model)
        assert len(server.got) == 2
        server.handle = stuck
        with pytest.raises(EngineError, match=r"silent for 0\.3 s"):
            await read(model)

    run(comments, work, retries=1, first_token_seconds=0.2, between_tokens_seconds=0.3)


def test_an_answer_may_take_so_long_in_all():
    async def work(model: UpstreamChatModel, server: Server):
        with pytest.raises(EngineError, match=r"longer than 0\.5 s"):
            await read(model)
        await left(server, 1)

    run(forever, work, total_seconds=0.5)


def test_an_endless_answer_and_an_endless_line_are_broken_off():
    async def endless(_: Got, reply: Reply) -> None:
        await reply.head()
        while True:
            await reply.event(chunk("x" * 1000))

    async def line(_: Got, reply: Reply) -> None:
        await reply.head()
        await reply.send(b"data: ")
        while True:
            await reply.send(b"x" * 65536)

    async def work(model: UpstreamChatModel, server: Server):
        with pytest.raises(EngineError, match="longer than 100,000 bytes"):
            await read(model)
        server.handle = line
        with pytest.raises(EngineError, match="longer than 100,000 bytes"):
            await read(model)

    run(endless, work, max_answer_bytes=100_000)


def test_slow_to_accept_is_no_reason_to_hold_the_caller():
    async def handle(_: Got, reply: Reply) -> None:
        await asyncio.sleep(0.3)
        await reply.json(error("too hot"), 400)

    async def work(model: UpstreamChatModel, _: Server):
        answer = await model.submit(HELLO)
        with pytest.raises(RequestError, match="too hot"):
            await anext(answer)

    run(handle, work, accept_seconds=0.05)


def test_a_field_by_its_other_name():
    async def handle(got: Got, reply: Reply) -> None:
        if "max_completion_tokens" in got.body:
            await reply.json(error("extra fields not permitted: max_completion_tokens"), 422)
        else:
            await says("x")(got, reply)

    async def work(model: UpstreamChatModel, server: Server):
        for _ in range(2):
            assert (await read(model, Sampling(max_tokens=9)))[0] == "x"
        assert [one.body.get("max_tokens") for one in server.got] == [None, 9, 9]

    run(handle, work)


def test_a_field_by_its_other_name_for_several_at_once():
    both = asyncio.Event()

    async def handle(got: Got, reply: Reply) -> None:
        if "max_completion_tokens" in got.body:
            if len(refused := [one for one in server_got if "max_completion_tokens" in one.body]) == 2:
                both.set()
            await both.wait()
            await asyncio.sleep(0.05 * len(refused))
            await reply.json(error("extra fields not permitted: max_completion_tokens"), 422)
        else:
            await says("x")(got, reply)

    server_got: list[Got] = []

    async def work(model: UpstreamChatModel, server: Server):
        nonlocal server_got
        server_got = server.got
        answers = await asyncio.gather(*(read(model, Sampling(max_tokens=9)) for _ in range(2)))
        assert [answer[0] for answer in answers] == ["x", "x"]

    run(handle, work)


def test_reachable_again_after_it_was_gone():
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            async with serving(says("x")) as server:
                port = int(server.url.split(":")[2].split("/")[0])
                options = UpstreamOptions(url=server.url, retries=1, backoff_seconds=0.01, probe_seconds=0.2)
                model = UpstreamChatModel.start(options)
                await model.wait_ready()
                await server.die()
                with pytest.raises(EngineError, match="cannot be reached"):
                    await read(model)
                assert not model.ready
                assert "trying again" in model.loading.message
                with pytest.raises(EngineError, match="not ready"):
                    await model.submit(HELLO)
                assert model.info.name == "tiny"
                assert model.fault is None
            async with serving(says("back"), port=port):
                while not model.ready:
                    await asyncio.sleep(0.02)
                assert (await read(model))[0] == "back"
                await model.close()

    asyncio.run(main())


def test_one_that_is_not_there_yet_is_waited_for():
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            async with serving(says("x")) as server:
                port = int(server.url.split(":")[2].split("/")[0])
            model = UpstreamChatModel.start(UpstreamOptions(url=f"http://127.0.0.1:{port}", probe_seconds=0.1))
            waiting = asyncio.create_task(model.wait_ready())
            while "cannot be reached" not in model.loading.message:
                await asyncio.sleep(0.01)
            with pytest.raises(EngineError, match="not there yet"):
                _ = model.info
            async with serving(says("x"), port=port):
                assert (await waiting).name == "tiny"
            await model.close()

    asyncio.run(main())


def too_long(limit: int, words: str) -> Handle:
    """A model whose tokens are characters; refuses as one of the known servers does."""

    async def handle(got: Got, reply: Reply) -> None:
        prompt = sum(len(message["content"]) for message in got.body["messages"])
        wanted = got.body.get("max_tokens") or got.body.get("max_completion_tokens") or 1
        if prompt + wanted > limit:
            fields = {"n_prompt_tokens": prompt, "n_ctx": limit, "code": 400, "type": "exceed_context_size_error"}
            told = words.format(limit=limit, prompt=prompt, wanted=wanted, total=prompt + wanted)
            await reply.json(error(told, **(fields if "llama" in words else {})), 400)
        else:
            await says("x")(got, reply)

    return handle


REFUSALS = [
    "This model's maximum context length is {limit} tokens. However, you requested {total} tokens "
    "({prompt} in the messages, {wanted} in the completion). Please reduce the length of the messages or completion.",
    "This model's maximum context length is {limit} tokens. However, your messages resulted in {prompt} tokens.",
    "'max_tokens' or 'max_completion_tokens' is too large: {wanted}. This model's maximum context length is {limit} "
    "tokens and your request has {prompt} input tokens ({wanted} > {limit} - {prompt}).",
    "Requested token count exceeds the model's maximum context length of {limit} tokens. You requested a total of "
    "{total} tokens: {prompt} tokens from the input messages and {wanted} tokens for the completion.",
    "llama: the request exceeds the available context size",
    "context length exceeded, somehow",
]


@pytest.mark.parametrize("words", REFUSALS)
def test_the_oldest_turns_go_when_a_conversation_is_too_long(words: str):
    async def work(model: UpstreamChatModel, server: Server):
        async with await model.submit(LONG_TALK, sampling=Sampling(max_tokens=50), truncate="oldest") as answer:
            assert "".join([piece.text async for piece in answer]) == "x"
        kept = server.got[-1].body["messages"]
        assert kept[0] == {"role": "system", "content": "Be brief."}
        assert kept[-1]["content"] == LONG_TALK[-1].content
        assert kept[1]["role"] == "user"
        assert 0 < answer.dropped == len(LONG_TALK) - len(kept) < len(LONG_TALK) - 2
        assert server.got[-1].body["max_completion_tokens"] == 50

    run(too_long(450, words), work)


@pytest.mark.parametrize("words", REFUSALS[:1] + REFUSALS[2:5])
def test_a_long_answer_is_asked_for_shorter_when_the_conversation_fits(words: str):
    async def work(model: UpstreamChatModel, server: Server):
        assert (await read(model, Sampling(max_tokens=500)))[0] == "x"
        assert server.got[-1].body["max_completion_tokens"] == 95

    run(too_long(100, words), work)


def test_what_cannot_be_shortened_is_refused():
    async def work(model: UpstreamChatModel, server: Server):
        for truncate in ("never", "oldest"):
            with pytest.raises(RequestError) as caught:
                await model.submit([Message(role="user", content="x" * 500)], truncate=truncate)
            assert caught.value.too_long
        with pytest.raises(RequestError) as caught:
            await model.submit(LONG_TALK, truncate="never")
        assert caught.value.too_long
        assert len(server.got) == 3

    run(too_long(100, REFUSALS[0]), work)
