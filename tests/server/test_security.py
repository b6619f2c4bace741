"""Who is let in, and what browsers are told: in-process, since no model is needed for it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from lindos.assistant import EngineDied
from lindos.server import Settings
from lindos.server.settings import is_loopback
from lindos.specs import SpecError
from tests.server.conftest import InProcess
from tests.server.scripted import ScriptedChatModel

KEY = "a-key-of-some-length"
ASK = {"model": "lindos", "messages": [{"role": "user", "content": "Hello"}]}
BEARER = {"authorization": f"Bearer {KEY}"}


def test_beyond_this_machine_only_with_a_key():
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", "10.0.0.1"):
        with pytest.raises(SpecError, match="--api-key"):
            Settings.parse({"host": host})
        assert not Settings.parse({"host": host, "api_key": KEY}).local
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        assert Settings.parse({"host": host}).local


@pytest.mark.parametrize("key", ["", "short", "with space in it", "schlüssel-mit-umlaut", "x" * 513])
def test_keys_that_no_header_carries_are_refused(key: str):
    with pytest.raises(SpecError, match="visible ASCII"):
        Settings.parse({"api_key": key})


def test_a_key_is_never_printed():
    assert KEY not in repr(Settings.parse({"api_key": KEY}))


def test_names_of_this_machine():
    for name in ("localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]", "::1", "lindos.localhost"):
        assert is_loopback(name)
    for name in ("", "localhost.evil.org", "127.0.0.1.evil.org", "0.0.0.0", "192.168.0.1", "localhost_"):
        assert not is_loopback(name)


def test_only_local_names_are_answered(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Hi"), allowed_hosts=("box.lan",)) as client:
            for host, status in (
                ("127.0.0.1:8420", 200),
                ("localhost", 200),
                ("[::1]:8420", 200),
                ("box.lan:80", 200),
                ("evil.example", 403),
                ("127.0.0.1.evil.example:8420", 403),
                ("localhost@evil.example", 403),
                ("", 403),
                ("[", 403),
            ):
                for path in ("/api/state", "/v1/models", "/", "/health"):
                    reply = await client.get(path, headers={"host": host})
                    assert reply.status_code == status, (host, path)

    asyncio.run(work())


def test_pages_of_other_sites_are_refused(in_process: InProcess):
    own = "http://127.0.0.1:8420"

    async def work():
        async with in_process(ScriptedChatModel("Hi")) as client:
            for headers, status in (
                ({}, 201),
                ({"origin": own}, 201),
                ({"sec-fetch-site": "same-origin"}, 201),
                ({"sec-fetch-site": "none"}, 201),
                ({"origin": "http://evil.example"}, 403),
                ({"origin": "http://127.0.0.1:9999"}, 403),
                ({"origin": "null"}, 403),
                ({"origin": ""}, 403),
                ({"sec-fetch-site": "cross-site"}, 403),
                ({"sec-fetch-site": "same-site"}, 403),
            ):
                asked = {"host": "127.0.0.1:8420", **headers}
                reply = await client.post("/api/conversations", json={}, headers=asked)
                assert reply.status_code == status, headers
                reply = await client.post("/v1/chat/completions", json=ASK, headers=asked)
                assert reply.status_code == (403 if status == 403 else 200), headers

    asyncio.run(work())


def test_behind_a_proxy_the_name_in_origin_is_ours_however_it_was_given(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Hi"), allowed_hosts=("Box.LAN:8443",)) as client:
            for origin, status in (
                ("https://box.lan", 201),
                ("https://box.lan:8443", 201),
                ("https://evil.example", 403),
                ("https://box.lan.evil.example", 403),
                ("http://[", 403),
            ):
                for host in ("127.0.0.1:8420", "box.lan"):
                    reply = await client.post("/api/conversations", json={}, headers={"host": host, "origin": origin})
                    assert reply.status_code == status, (origin, host)

    asyncio.run(work())


def test_what_a_dead_engine_wrote_is_told_to_nobody(in_process: InProcess, caplog: pytest.LogCaptureFixture):
    fault = EngineDied("it ended with code 1; the last it wrote:\nTraceback: /home/somebody/secret.py")

    async def work():
        model = ScriptedChatModel("Hi", refusal=fault)
        async with in_process(model) as client:
            reply = await client.post("/v1/chat/completions", json=ASK)
            assert reply.status_code == 503
            assert reply.json()["error"]["message"] == "it ended with code 1"
            model.ready, model.fault = False, fault
            reply = await client.get("/ready")
            assert reply.json()["error"]["message"] == "it ended with code 1"
            assert "secret" not in (await client.get("/api/state")).text

    asyncio.run(work())
    assert "secret.py" in caplog.text


def test_with_a_key_nothing_is_told_without_it(in_process: InProcess):
    paths = ("/v1/models", "/v1/models/lindos", "/api/state", "/api/conversations", "/openapi.json")
    wrong = ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}, {"authorization": f"Basic {KEY}"})

    async def work():
        async with in_process(ScriptedChatModel("Hi"), api_key=KEY) as client:
            for path in paths:
                for headers in wrong:
                    reply = await client.get(path, headers=headers)
                    assert reply.status_code == 401, (path, headers)
                    assert reply.headers["www-authenticate"] == "Bearer"
                    assert reply.json()["error"]["code"] == "invalid_api_key"
                assert (await client.get(path, headers=BEARER)).status_code == 200
            for path in ("/health", "/ready", "/", "/static/mark.svg"):
                assert (await client.get(path)).status_code == 200
            foreign = {**BEARER, "origin": "https://app.example"}
            assert (await client.post("/v1/chat/completions", json=ASK, headers=foreign)).status_code == 200

    asyncio.run(work())


def test_the_page_trades_the_key_for_a_cookie(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Hi"), host="0.0.0.0", api_key=KEY) as client:
            refused = await client.post("/api/session", json={"key": "not the key"})
            assert refused.status_code == 401
            assert "set-cookie" not in refused.headers
            taken = await client.post("/api/session", json={"key": KEY})
            assert taken.status_code == 204
            cookie = taken.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert KEY not in cookie
            assert (await client.get("/api/state")).status_code == 200
            # The cookie opens the page's API only: no foreign page can have a browser spend tokens with it.
            assert (await client.get("/v1/models")).status_code == 401
            foreign = {"origin": "http://evil.example"}
            assert (await client.post("/api/conversations", json={}, headers=foreign)).status_code == 403

    asyncio.run(work())


def test_every_answer_carries_the_security_headers(in_process: InProcess):
    async def work():
        async with in_process(ScriptedChatModel("Hi"), body_limit=1000) as client:
            for reply in (
                await client.get("/"),
                await client.get("/static/js/main.js"),
                await client.get("/v1/models"),
                await client.get("/nowhere"),
                await client.get("/", headers={"host": "evil.example"}),
                await client.post("/v1/completions", content=b" " * 2000),
            ):
                policy = reply.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert reply.headers["x-content-type-options"] == "nosniff"
                assert reply.headers["referrer-policy"] == "no-referrer"
                assert "x-request-id" in reply.headers

    asyncio.run(work())


def test_an_unexpected_error_tells_nothing(in_process: InProcess, caplog: pytest.LogCaptureFixture):
    def broken(_: object) -> str:
        raise ZeroDivisionError("secret of the house")

    async def work():
        async with in_process(ScriptedChatModel(broken)) as client:
            reply = await client.post("/v1/chat/completions", json=ASK)
            assert reply.status_code == 500
            assert "secret" not in reply.text
            assert reply.json()["error"]["type"] == "server_error"
            assert "x-request-id" in reply.headers

    asyncio.run(work())
    assert "secret of the house" in caplog.text


def test_the_page_asks_nobody_else_for_anything():
    """No address of another host in any file of the page, apart from the name of the SVG standard."""
    from lindos.server.static import WEB

    for path in WEB.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, path
            assert "https://" not in text, path
            assert "//cdn" not in text, path


def test_the_page_fits_its_own_policy():
    """No inline script, style or handler: the policy would break the page."""
    from lindos.server.static import WEB

    html = (Path(WEB) / "index.html").read_text(encoding="utf-8")
    assert " style=" not in html
    assert "<style" not in html
    assert not re.search(r"""\son[a-z]+=["']""", html)
    assert all("src=" in tag for tag in html.split("<script")[1:])
