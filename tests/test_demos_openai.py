"""The chat model behind OpenAI's protocol, against a small server on this machine."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from minirec._io import UserError
from minirec.demos.chat import ChatError, Message
from minirec.demos.openai import OpenAIChat

KEY = "sk-very-secret"
HELLO: list[Message] = [{"role": "user", "content": "Hello?"}]


def completion(content: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "1", "object": "chat.completion", "created": 0, "model": "small"}
    return head | {"choices": [choice], "usage": usage}


class Server(ThreadingHTTPServer):
    """Answers from ``answers`` in turn, then as it should; ``models`` is the status of the list."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes | None]] = []
        self.requests: list[dict[str, Any]] = []
        self.models, self.url = 200, f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.answer(self.server.models, b'{"object": "list", "data": []}')

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        said = json.dumps(completion(f"seed {request['seed']}")).encode()
        status, body = self.server.answers.pop(0) if self.server.answers else (200, said)
        if status == 0:
            time.sleep(0.4)
        if body is not None:
            self.answer(status, body)

    def answer(self, status: int, body: bytes) -> None:
        if status in (401, 403):  # as OpenAI's does
            text = f"Incorrect API key provided: {self.headers['Authorization']}"
            body = json.dumps({"error": {"message": text}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("openai", reason="the package openai is not installed")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def chat(server: Server, **options: Any) -> OpenAIChat:
    quick: dict[str, Any] = {"base_url": server.url, "timeout": 5.0, "pause": 0.0} | options
    return OpenAIChat("small", **quick)


def test_the_request_arrives_and_the_reply_comes_back(server: Server) -> None:
    model, schema = chat(server, temperature=0.0, num_predict=64), {"type": "object"}
    reply = model.reply(HELLO, seed=7, schema=schema)
    assert (reply.text, reply.prompt_tokens, reply.reply_tokens) == ("seed 7", 3, 2)
    assert reply.attempts == 1 and 0 < reply.seconds < 5 and model.name == "small"
    wanted = {"model": "small", "messages": HELLO, "seed": 7, "temperature": 0.0, "max_tokens": 64}
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    model.reply(HELLO, seed=7)
    assert server.requests == [wanted | {"response_format": form}, wanted]


def test_settings_leave_out_what_is_secret(server: Server) -> None:
    url = server.url.replace("//", "//me:s3cr3t@") + "?token=s3cr3t"
    for server.models in (200, 404, 405):  # not every server has the list
        settings = chat(server, base_url=url).settings
        assert settings["options"] == {"temperature": 0.5, "max_tokens": 512}
        assert settings["model"] == "small" and server.url in settings["base_url"]
        assert "s3cr3t" not in str(settings) and KEY not in str(settings)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b"{}", "status 500"),
        (429, b"{}", "status 429"),
        (400, b'{"error": {"message": "no"}}', "status 400"),
        (0, None, "timeout"),
        (1, None, "no connection"),
        (200, b"{", "unreadable answer"),
        (200, b"[]", "unreadable answer"),
        (200, b'{"choices": []}', "unreadable answer"),
        (200, b'{"choices": null}', "unreadable answer"),
        (200, json.dumps(completion(7)).encode(), "unreadable answer"),
        (200, json.dumps(completion("\ud800")).encode(), "unreadable answer"),
    ],
)
def test_an_attempt_that_fails_is_made_again_until_there_are_none(
    server: Server, status: int, body: bytes | None, kind: str
) -> None:
    model = chat(server, timeout=5.0 if status else 0.2, attempts=2)
    server.answers = [(status, body)]
    reply = model.reply(HELLO, seed=1)
    assert (reply.text, reply.attempts) == ("seed 1", 2)
    server.answers = [(status, body)] * 2
    with pytest.raises(ChatError) as caught:
        model.reply(HELLO, seed=1)
    assert (caught.value.kind, caught.value.attempts) == (kind, 2)
    assert len(server.requests) == 4  # the client itself does not retry


def test_an_empty_reply_is_a_reply(server: Server) -> None:
    for content in ("", None):
        server.answers = [(200, json.dumps(completion(content)).encode())]
        assert chat(server).reply(HELLO, seed=1).text == ""


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_not_shown(server: Server, status: int) -> None:
    server.answers, server.models = [(status, b"")], status
    model = chat(server)
    for action in (lambda: model.reply(HELLO, seed=1), model.check, lambda: model.settings):
        with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
            action()
        assert KEY not in str(caught.value) and "Incorrect" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert len(server.requests) == 1


def test_a_model_or_server_that_is_not_there(server: Server) -> None:
    server.answers = [(404, b"{}")]
    with pytest.raises(UserError, match="no model 'small'"):
        chat(server).reply(HELLO, seed=1)
    nowhere = chat(server, base_url="http://me:s3cr3t@127.0.0.1:9/v1")
    for action in (lambda: nowhere.reply(HELLO, seed=1), lambda: nowhere.settings):
        with pytest.raises(UserError, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
            action()
    for url in ("http://me:s3cr3t/@host", "http://me:s3cr3t@host:port"):
        with pytest.raises(UserError, match="base_url is not readable") as caught:
            chat(server, base_url=url)
        assert "s3cr3t" not in str(caught.value)


def test_threads_share_one_chat(server: Server) -> None:
    model = chat(server)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda seed: model.reply(HELLO, seed=seed).text, range(40)))
    assert texts == [f"seed {seed}" for seed in range(40)]


def test_no_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", " "):
        monkeypatch.setenv("OPENAI_API_KEY", value)
        with pytest.raises(UserError, match="set OPENAI_API_KEY"):
            OpenAIChat("small")


def test_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install 'minirec\[openai\]'"):
        OpenAIChat("small")
