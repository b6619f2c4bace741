"""Words of posts that were deleted go from what is kept of an answer, however it ended, shown or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lindos.assistant import EngineDied
from tests.server.conftest import run
from tests.server.evening import LARGE, WHO, evening
from tests.server.events import parsed
from tests.server.scripted import ScriptedChatModel

CUT = "Halvorsen leads with 51.8% and 7,777 votes. Counting goes on."


def test_of_an_answer_whose_model_died_midway(tmp_path: Path):
    async def work():
        model = ScriptedChatModel("Counting goes on", info=LARGE, fault=EngineDied("gone"))
        async with evening(tmp_path, model) as on:
            await on.counted()
            body = {"model": "lindos", "input": WHO, "stream": True}
            _, last = parsed((await on.client.post("/v1/responses", json=body)).text)[-1]
            response = last["response"]
            assert response["status"] == "failed"
            assert "51.8" in json.dumps(response["output"])
            assert [source["author"] for source in response["lindos"]["sources"]] == ["count.example"]
            await on.deleted()
            kept = (await on.client.get(f"/v1/responses/{response['id']}")).json()
            assert kept["status"] == "failed"
            assert kept["lindos"]["deleted"]
            assert "51.8" not in json.dumps(kept)
            body = {"model": "lindos", "input": "Go on.", "previous_response_id": response["id"]}
            await on.client.post("/v1/responses", json=body)
            assert "51.8" not in "".join(message.content for message in model.asked[-1]["messages"])

    run(work)


@pytest.mark.parametrize("stream", [False, True])
def test_of_sentences_that_were_cut(tmp_path: Path, stream: bool):
    async def work():
        async with evening(tmp_path, ScriptedChatModel(CUT, info=LARGE)) as on:
            await on.counted()
            reply = await on.client.post("/v1/responses", json={"model": "lindos", "input": WHO, "stream": stream})
            response = parsed(reply.text)[-1][1]["response"] if stream else reply.json()
            cut = response["lindos"]["cut"]
            assert "7,777" in cut[0]["text"]
            await on.deleted()
            kept = (await on.client.get(f"/v1/responses/{response['id']}")).json()
            assert kept["lindos"]["cut"] == [{**one, "text": ""} for one in cut]
            assert "51.8" not in json.dumps(kept)

    run(work)


def test_of_the_page_and_its_database(tmp_path: Path):
    async def work():
        async with evening(tmp_path, ScriptedChatModel(CUT, info=LARGE)) as on:
            await on.counted()
            conversation = (await on.post("/api/conversations", 201))["id"]
            path = f"/api/conversations/{conversation}"
            await on.client.post(f"{path}/messages", json={"text": WHO})
            answer = (await on.client.get(path)).json()["messages"][-1]
            row = await on.service.conversations.message(answer["id"])
            assert "51.8" in row.content
            assert "7,777" in row.basis
            await on.deleted()
            held_back = (await on.client.get(path)).json()["messages"][-1]["basis"]["held_back"]
            assert held_back == answer["basis"]["held_back"]
            row = await on.service.conversations.message(answer["id"])
            assert "51.8" not in row.content + row.basis
            assert "7,777" not in row.basis

    run(work)
