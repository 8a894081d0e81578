"""The Ollama chat model and text vectors against servers on this machine, and against none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from minirec._io import UserError
from minirec.demos.chat import ChatError, Message
from minirec.demos.ollama import OllamaChat, OllamaVectors
from ollama_server import Fault, OllamaServer, Request, request_hash

NOWHERE = "http://127.0.0.1:9"
HELLO: list[Message] = [{"role": "user", "content": "Hello?"}]
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}}
PASSWORD = "s3cr3t"


def echo(request: Request) -> str:
    """Say which request it was."""
    return f"{request['messages'][-1]['content']} {request['options']['seed']}"


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer(replies=echo, stall=1.0) as running:
        yield running


@pytest.fixture
def servers() -> Iterator[list[OllamaServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(OllamaServer(replies=echo)) for _ in range(3)]


def chat(*servers: OllamaServer, **options: Any) -> OllamaChat:
    quick: dict[str, Any] = {"timeout": 5.0, "pause": 0.0} | options
    return OllamaChat("small", hosts=[server.url for server in servers], **quick)


def asked(server: OllamaServer) -> list[Request]:
    return [body for path, body in server.requests or [] if path == "/api/chat"]


def test_the_request_arrives_and_the_reply_comes_back(server: OllamaServer) -> None:
    model = chat(server, num_ctx=2048, num_predict=64, temperature=0.0, keep_alive="1m")
    reply = model.reply(HELLO, seed=7, schema=SCHEMA)
    assert (reply.text, reply.attempts) == ("Hello? 7", 1)
    assert reply.prompt_tokens > 0 and reply.reply_tokens > 0 and 0 < reply.seconds < 5
    (request,) = asked(server)
    assert request["messages"] == HELLO and request["stream"] is True
    assert request["format"] == SCHEMA and request["keep_alive"] == "1m"
    options = {"seed": 7, "num_ctx": 2048, "num_predict": 64, "temperature": 0.0}
    assert request["options"] == options
    model.reply(HELLO, seed=7)
    assert "format" not in asked(server)[1]


def test_settings_hold_the_digest_and_all_options_but_the_seed(server: OllamaServer) -> None:
    model = chat(server)
    (digest,) = server.models.values()
    options = {"num_ctx": 8192, "num_predict": 512, "temperature": 0.5}
    assert model.settings == {"model": "small", "digest": digest, "options": options}
    assert model.name == "small"
    server.models.clear()
    assert model.settings["digest"] == digest  # asked once
    with pytest.raises(UserError, match="ollama pull small"):
        model.check()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refuses", "cut off"),
        ("stalls", "timeout"),
        ("404 model", "status 404"),
        ("500", "status 500"),
        ("503", "status 503"),
        ("cut", "cut off"),
        ("error line", "error in the stream"),
        ("enormous", "longer than 20000 characters"),
    ],
)
def test_an_attempt_that_fails_is_made_again_until_there_are_none(
    server: OllamaServer, fault: str, kind: str
) -> None:
    model = chat(server, timeout=0.2 if fault == "stalls" else 5.0, attempts=3)
    server.fault = lambda name: Fault(fault, 2)
    reply = model.reply(HELLO, seed=1)
    assert (reply.text, reply.attempts) == ("Hello? 1", 3)
    server.fault = lambda name: Fault(fault)
    with pytest.raises(ChatError) as caught:
        model.reply(HELLO, seed=1)
    assert (caught.value.kind, caught.value.attempts) == (kind, 3)
    assert len(asked(server)) == 6


@pytest.mark.parametrize(
    ("fault", "text"), [("empty", ""), ("echoes the schema", '{"type": "object"}')]
)
def test_a_poor_reply_is_a_reply(server: OllamaServer, fault: str, text: str) -> None:
    server.fault = lambda name: Fault(fault)
    reply = chat(server).reply(HELLO, seed=1)
    assert (reply.text, reply.attempts) == (text, 1)


@pytest.mark.parametrize("line", ["[1]", "7", '{"message": 3}', '{"error": {"a": 1}}', "{", "{}"])
def test_lines_that_are_not_what_they_should_be(
    server: OllamaServer, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_server.json.dumps", lambda value: line)
    monkeypatch.setattr("ollama_server.request_hash", lambda request: "00")
    kind = "unreadable answer"
    with pytest.raises(UserError, match=rf"no Ollama server answers at .*\({kind}\)"):
        chat(server, attempts=1).reply(HELLO, seed=1)
    monkeypatch.setattr(OllamaChat, "check", lambda self: "")
    with pytest.raises(ChatError, match=kind):
        chat(server, attempts=1).reply(HELLO, seed=1)


def test_text_that_no_file_could_hold(server: OllamaServer) -> None:
    server.replies = lambda request: "half \ud83d"
    with pytest.raises(ChatError, match="unreadable answer"):
        chat(server, attempts=1).reply(HELLO, seed=1)
    server.replies = lambda request: "whole \U0001f600 Amélie"
    assert chat(server).reply(HELLO, seed=1).text == "whole \U0001f600 Amélie"


def test_no_message_holds_what_the_server_says(server: OllamaServer) -> None:
    for fault in ("404 model", "500", "error line"):
        server.fault = lambda name, kind=fault: Fault(kind)
        with pytest.raises(ChatError) as caught:
            chat(server, attempts=1).reply(HELLO, seed=1)
        assert "runner" not in str(caught.value) and "fault" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_deadline_holds_for_the_whole_reply(server: OllamaServer) -> None:
    server.replies, server.drip = lambda request: "a dripping reply " * 10, 0.05
    started = time.monotonic()
    with pytest.raises(ChatError, match="timeout"):
        chat(server, timeout=0.2, attempts=1).reply(HELLO, seed=1)
    assert time.monotonic() - started < 0.9
    server.drip = 0.001
    assert chat(server).reply(HELLO, seed=1).text == "a dripping reply " * 10


def test_the_longest_reply_is_still_one(server: OllamaServer) -> None:
    server.replies = lambda request: "x" * 100
    assert len(chat(server, longest=100).reply(HELLO, seed=1).text) == 100
    with pytest.raises(ChatError, match="longer than 99 characters"):
        chat(server, longest=99, attempts=1).reply(HELLO, seed=1)


def test_no_server_and_no_model(server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    for model in (OllamaChat("small", pause=0.0), OllamaVectors("small", NOWHERE)._chat):
        model.pause = 0.0
        with pytest.raises(UserError, match=r"no Ollama server answers at .*:9 .*ollama serve"):
            model.reply(HELLO, seed=0)
        with pytest.raises(UserError, match="ollama serve"):
            _ = model.settings
    server.models.clear()
    for model in (chat(server), OllamaVectors("small", server.url)._chat):
        model.pause = 0.0
        with pytest.raises(UserError, match="no model 'small'; run `ollama pull small`"):
            model.reply(HELLO, seed=0)
    with pytest.raises(UserError, match="ollama:MODEL"):
        OllamaChat("")


def test_the_default_server_comes_from_the_environment(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    assert OllamaChat("small").reply(HELLO, seed=3).text == "Hello? 3"
    monkeypatch.delenv("OLLAMA_HOST")
    assert list(OllamaChat("small").clients) == ["127.0.0.1:11434"]


@pytest.mark.parametrize("name", ["small", "small:latest", "hub.example:5000/me/small", "small:1b"])
def test_a_model_without_a_tag_is_the_latest(name: str) -> None:
    with OllamaServer([name]) as server:
        model = OllamaChat(name, hosts=server.url)
        assert model.settings["model"] == name
        assert model.reply(HELLO, seed=0).text == "hello there"
    with OllamaServer(["small:2b"]) as server, pytest.raises(UserError, match="ollama pull"):
        OllamaChat(name, hosts=server.url).check()


def test_calls_are_spread_over_the_servers(servers: list[OllamaServer]) -> None:
    model = chat(*servers)
    texts = [model.reply(HELLO, seed=seed).text for seed in range(60)]
    assert texts == [f"Hello? {seed}" for seed in range(60)]
    shares = [len(asked(server)) for server in servers]
    assert sum(shares) == 60 and min(shares) >= 10
    again = chat(*servers)  # the same server for the same request
    before = [request_hash(request) for request in asked(servers[0])]
    for seed in range(60):
        again.reply(HELLO, seed=seed)
    assert [request_hash(request) for request in asked(servers[0])] == before * 2


def test_others_stand_in_for_a_server_that_fails(servers: list[OllamaServer]) -> None:
    model = chat(*servers, attempts=3)
    assert model.settings["digest"]
    servers[0].__exit__(None, None, None)
    servers[1].models.clear()
    replies = [model.reply(HELLO, seed=seed) for seed in range(20)]
    assert [reply.text for reply in replies] == [f"Hello? {seed}" for seed in range(20)]
    assert {reply.attempts for reply in replies} == {1, 2, 3}
    servers[2].fault = lambda name: Fault("500")
    with pytest.raises(ChatError):  # one is well
        model.reply(HELLO, seed=0)
    with pytest.raises(UserError, match=servers[0].url):  # but all have to be at the start
        _ = chat(*servers).settings
    with pytest.raises(UserError, match=rf"{servers[1].url} has no model"):
        _ = chat(*servers[1:]).settings
    servers[2].models.clear()
    with pytest.raises(UserError):
        model.reply(HELLO, seed=0)


def test_servers_have_to_hold_the_same_model(servers: list[OllamaServer]) -> None:
    servers[1].models["small:latest"] = "0" * 64
    with pytest.raises(UserError, match=rf"{servers[1].url} holds 000000000000.*ollama pull small"):
        _ = chat(*servers).settings


def test_threads_share_one_chat(servers: list[OllamaServer]) -> None:
    model = chat(*servers)
    servers[0].fault = lambda name: Fault("503", 1)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda seed: model.reply(HELLO, seed=seed).text, range(100)))
    assert texts == [f"Hello? {seed}" for seed in range(100)]


def test_a_password_is_sent_and_never_shown(server: OllamaServer) -> None:
    host = server.url.replace("//", f"//me:{PASSWORD}@")
    model = OllamaChat("small", hosts=[host], attempts=1)
    assert model.reply(HELLO, seed=1).text == "Hello? 1"
    assert PASSWORD not in str(model.settings)
    server.models.clear()
    bad = "http://me:s3cr3t/x@host", f"http://me:{PASSWORD}@host:port", f"me:{PASSWORD}@[host"
    for action in (
        model.check,
        lambda: model.reply(HELLO, seed=1),
        OllamaChat("small", hosts=f"http://me:{PASSWORD}@127.0.0.1:9").check,
        *(lambda host=host: OllamaChat("small", hosts=host) for host in bad),
    ):
        with pytest.raises(UserError) as caught:
            action()
        assert PASSWORD not in str(caught.value) and caught.value.__cause__ is None


def test_vectors_have_length_1_and_keep_their_order(server: OllamaServer) -> None:
    model = OllamaVectors("small", server.url)
    texts = [f"{word} {number}" for number in range(50) for word in ("Ashen Crypt", "Toy Train")]
    rows = model.vectors(texts)
    assert rows.shape == (100, 64) and rows.dtype == np.float32 and model.name == "small"
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows[97], model.vectors(texts[97:98])[0])
    assert rows[0] @ rows[2] > 2 * rows[0] @ rows[1]  # alike
    sizes = [len(body["input"]) for path, body in server.requests or [] if path == "/api/embed"]
    assert sizes == [64, 36, 1]
    assert model.vectors([]).shape == (0, 0)


def test_vectors_that_cannot_be_had_are_a_mistake_to_mend(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OllamaVectors("small", server.url)
    model._chat.pause = 0.0
    monkeypatch.setattr("ollama_server.vector", lambda text: ["no number"])
    with pytest.raises(UserError, match=r"no text vectors by small: .*unreadable.*--resume"):
        model.vectors(["a"])


def test_vectors_come_from_a_server_that_is_well(servers: list[OllamaServer]) -> None:
    model = OllamaVectors("small", [one.url for one in servers])
    model._chat.pause = 0.0
    servers[0].__exit__(None, None, None)
    assert model.vectors(["a", "b"]).shape == (2, 64)


def test_vectors_are_asked_for_again(
    server: OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, given = OllamaVectors("small", server.url), iter([[1.0], []])
    model._chat.pause = 0.0
    monkeypatch.setattr("ollama_server.vector", lambda text: next(given, [0.0, 2.0]))
    rows = model.vectors(["a", "b"])  # the first answer is ragged
    assert rows.tolist() == [[0, 1], [0, 1]]
