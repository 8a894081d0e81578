"""The tests' Ollama server: every endpoint by the official client, and its faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from ollama import Client, ResponseError

from minirec.demos.chat import ChatError
from minirec.demos.ollama import OllamaChat
from minirec.demos.prompts import actor_prompt
from ollama_server import CONTENT, TRANSPORT, Fault, OllamaServer, fault_of, request_hash

FILE = Path(__file__).with_name("ollama_server.py")
HELLO = [{"role": "user", "content": "Hello?"}]
NAMES = [request_hash({"model": "small", "options": {"seed": seed}}) for seed in range(4000)]


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer(replies=lambda request: "Ashen Crypt II, perhaps.") as running:
        yield running


@pytest.fixture
def client(server: OllamaServer) -> Iterator[Client]:
    client = Client(server.url, timeout=5.0)
    yield client
    client._client.close()


def test_chat(server: OllamaServer, client: Client) -> None:
    whole = client.chat("small", HELLO, options={"seed": 1}, format={"type": "string"})
    parts = list(client.chat("small", HELLO, stream=True))
    assert len(parts) > 2 and [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    for last in (whole, parts[-1]):
        assert last.done_reason == "stop" and last.eval_count and last.prompt_eval_count
        assert last.total_duration and last.eval_duration and last.model == "small"
    assert client.chat("small", []).done_reason == "load"
    assert client.chat("small", [], keep_alive=0).done_reason == "unload"
    path, body = (server.requests or [])[0]
    assert path == "/api/chat" and body["options"] == {"seed": 1}
    server.requests = None  # off
    client.chat("small", HELLO)


def test_generate(client: Client) -> None:
    whole = client.generate("small", "Hello?")
    parts = list(client.generate("small", "Hello?", stream=True))
    assert whole.response == "".join(part.response for part in parts) == "Ashen Crypt II, perhaps."
    assert whole.done and parts[-1].done and client.generate("small").done_reason == "load"


def test_models(server: OllamaServer, client: Client) -> None:
    assert client.pull("new").status == "success"
    parts = list(client.pull("newer:1b", stream=True))
    assert parts[0].status == "pulling manifest" and parts[-1].status == "success"
    assert any(part.completed == part.total == 1000 for part in parts)
    held = {model.model: model.digest for model in client.list().models}
    assert held == server.models and list(held) == ["small:latest", "new:latest", "newer:1b"]
    assert [model.model for model in client.ps().models] == list(held)
    assert client.show("new").modelinfo and client.show("newer:1b").details
    for stream, status in ((False, 500), (True, -1)):
        with pytest.raises(ResponseError, match="file does not exist") as caught:
            list(client.pull("missing", stream=stream))
        assert caught.value.status_code == status


def test_embed(client: Client) -> None:
    one = client.embed("small", "Ashen Crypt").embeddings
    many = client.embed("small", ["Ashen Crypt", "", "Toy Train"]).embeddings
    assert list(one[0]) == list(many[0]) and len(many) == 3
    assert all(sum(x * x for x in row) == pytest.approx(1) for row in many)


def test_errors(server: OllamaServer, client: Client) -> None:
    for call in (client.chat, client.generate, client.show, client.embed):
        with pytest.raises(ResponseError, match="model 'large' not found") as caught:
            call("large")
        assert caught.value.status_code == 404
    for content, error in ((b"", "missing request body"), (b"{}", "model is required")):
        answer = httpx.post(f"{server.url}/api/chat", content=content)
        assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert httpx.post(f"{server.url}/api/chat", content=b"{").status_code == 400
    assert httpx.get(f"{server.url}/nothing").status_code == 404
    assert httpx.get(server.url).text == "Ollama is running"
    assert httpx.get(f"{server.url}/api/version").json()["version"]


def test_the_wire(server: OllamaServer) -> None:
    """One connection carries many answers; streams are chunked lines of JSON."""
    connection = HTTPConnection(*server.server_address[:2], timeout=5.0)
    sockets = set()
    for stream in (True, False, True):
        body = json.dumps({"model": "small", "messages": HELLO, "stream": stream})
        connection.request("POST", "/api/chat", body)
        sockets.add(connection.sock.getsockname())
        answer = connection.getresponse()
        kind = "application/x-ndjson" if stream else "application/json; charset=utf-8"
        assert answer.headers["Content-Type"] == kind and answer.version == 11
        assert answer.headers.get("Transfer-Encoding") == ("chunked" if stream else None)
        lines = answer.read().splitlines()
        assert json.loads(lines[-1])["done"] and (len(lines) > 2) == stream
    connection.close()
    assert len(sockets) == 1


def test_faults_are_a_function_of_the_request() -> None:
    faults = [fault_of(name, 0, 0.3) for name in NAMES]
    assert faults == [fault_of(name, 0, 0.3) for name in NAMES]
    assert faults != [fault_of(name, 1, 0.3) for name in NAMES]
    assert not any(fault_of(name, 0, 0.0) for name in NAMES)
    assert all(fault_of(name, 0, 1.0) for name in NAMES)
    struck = [fault for fault in faults if fault]
    assert len(struck) / len(NAMES) == pytest.approx(0.3, abs=0.03)
    assert all(fault_of(n, 0, 0.6) == f for n, f in zip(NAMES, faults, strict=True) if f)
    kinds = Counter(fault.kind for fault in struck)
    assert set(kinds) == {*TRANSPORT, *CONTENT} and min(kinds.values()) > 60
    times = Counter(fault.times for fault in struck if fault.kind in TRANSPORT)
    assert set(times) == {1, 2, None} and 0.05 < times[None] / times.total() < 0.15
    assert {fault.times for fault in struck if fault.kind in CONTENT} == {None}


def test_a_hash_holds_what_a_reply_depends_on() -> None:
    request: dict[str, Any] = {"model": "small", "messages": HELLO, "options": {"seed": 1, "a": 2}}
    same = {"options": {"a": 2, "seed": 1}, "keep_alive": "1m", "stream": True}
    assert request_hash(request | same) == request_hash(request)
    for other in ({"options": {"seed": 2}}, {"format": {}}, {"messages": []}, {"model": "x"}):
        assert request_hash(request | other) != request_hash(request)


@pytest.mark.parametrize("kind", CONTENT)
def test_poor_replies(server: OllamaServer, client: Client, kind: str) -> None:
    server.replies, server.fault = lambda request: '{"title": "Kite"}', lambda name: Fault(kind)
    schema = {"type": "object"}
    text = client.chat("small", HELLO, format=schema).message.content or ""
    wanted = {"empty": "", "wrong JSON": '{"title"', "echoes the schema": json.dumps(schema)}
    assert text == wanted.get(kind, text) and "Kite" not in text


def test_what_comes_of_a_request_does_not_depend_on_earlier_attempts(
    server: OllamaServer,
) -> None:
    """A client that was killed may have asked any number of times before."""

    def fault(name: str) -> Fault | None:
        found = fault_of(name, 0, 1.0)
        return replace(found, kind="503") if found and found.kind == "stalls" else found

    server.fault = fault
    server.replies = lambda request: f"seed {request['options']['seed']}"

    def outcome(seed: int) -> str:
        try:
            return chat.reply([{"role": "user", "content": "Hello?"}], seed=seed).text
        except ChatError as error:
            return error.kind

    chat = OllamaChat("small", hosts=server.url, timeout=5.0, attempts=3, pause=0.0)
    killed = OllamaChat("small", hosts=server.url, timeout=5.0, attempts=1, pause=0.0)
    fresh = [outcome(seed) for seed in range(40)]
    assert len(set(fresh)) > 20 and "longer than 20000 characters" in fresh
    for earlier in (1, 2):
        server.struck.clear()
        for seed in range(40):
            for _ in range(earlier):
                try:
                    killed.reply([{"role": "user", "content": "Hello?"}], seed=seed)
                except ChatError:
                    continue
        assert [outcome(seed) for seed in range(40)] == fresh
    assert len(server.struck) <= 40


def test_the_command_serves_the_simulated_model() -> None:
    environment = os.environ | {"PYTHONPATH": str(FILE.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FILE), "--model", "tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            chat = OllamaChat("tiny", hosts=process.stdout.readline().strip(), timeout=5.0)
            messages = actor_prompt([("Kite", 4.0)], [])
            reply = chat.reply(messages, seed=3)
            assert chat.reply(messages, seed=3).text == reply.text != ""
        finally:
            process.kill()
