"""The Ollama chat model against a small server on this machine, and against none."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from minirec._io import UserError
from minirec.demos.ollama import OllamaChat
from minirec.demos.prompts import actor_prompt


class Server(ThreadingHTTPServer):
    """Answers ``/api/chat`` for the models ``small`` and ``slow``; keeps the requests."""

    daemon_threads = True
    requests: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        if request["model"] == "slow":
            time.sleep(0.5)
        known = request["model"] in ("small", "slow")
        message = {"role": "assistant", "content": f"seed {request['options']['seed']}"}
        answer = {"model": request["model"], "message": message, "done": True}
        body = json.dumps(answer if known else {"error": f"model '{request['model']}' not found"})
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def host(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_messages_and_options_arrive_and_the_reply_comes_back(server: Server) -> None:
    chat = OllamaChat("small", host=host(server), num_ctx=2048, num_predict=64, temperature=0.0)
    messages = actor_prompt([("Kite", 4.0)], [])
    assert chat.reply(messages, seed=7) == "seed 7"
    (request,) = server.requests
    assert request["messages"] == messages and request["stream"] is False
    wanted = {"seed": 7, "num_ctx": 2048, "num_predict": 64, "temperature": 0.0}
    assert request["options"] == wanted


def test_a_model_that_is_not_pulled(server: Server) -> None:
    with pytest.raises(UserError, match="ollama pull large"):
        OllamaChat("large", host=host(server)).reply([], seed=0)


def test_a_slow_model(server: Server) -> None:
    with pytest.raises(UserError, match=r"no reply in 0\.1 s"):
        OllamaChat("slow", host=host(server), timeout=0.1).reply([], seed=0)


def test_no_server() -> None:
    with pytest.raises(UserError, match="ollama serve"):
        OllamaChat("small", host="http://127.0.0.1:9").reply([], seed=0)


def test_no_model() -> None:
    with pytest.raises(UserError, match="ollama:MODEL"):
        OllamaChat("")
