"""An Ollama server for tests: the real one's endpoints and manners, without a model.

Import it (standard library only), or run it: ``python tests/ollama_server.py [--faults 0.3]``
prints its address on the first line and serves the simulated chat model until it is stopped.
Shapes: docs/api.md and server/routes.go of ollama/ollama.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Request = dict[str, Any]

TRANSPORT = (
    "refuses", "stalls", "404 model", "500", "503", "cut", "error line", "enormous"
)  # fmt: skip
CONTENT = ("empty", "wrong JSON", "echoes the schema", "wrong language")
FOR_GOOD = 0.1  # of the transport faults
STATUS = {"404 model": 404, "500": 500, "503": 503}
FOREIGN = "Diesem Menschen würde ich heute etwas Ruhiges mit Gespenstern empfehlen."
NOW = "2026-01-01T00:00:00.000000Z"
DIM = 64  # of the text vectors


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request: the first ``times`` attempts, or every one (None)."""

    kind: str
    times: int | None = None


def request_hash(request: Request) -> str:
    """Return the SHA-256 of what a reply depends on."""
    parts = [request.get(name) for name in ("model", "messages", "format", "options")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fault_of(request_hash: str, seed: int, share: float) -> Fault | None:
    """Return what goes wrong with a request, if anything: a pure function.

    A fault strikes the first one or two attempts, or all of them; never a later one alone. So
    whether a request succeeds in the end, and with which text, depends on its hash alone, however
    often a client that was killed in between has asked already, if the client asks one server
    three times at least (n servers with faults of one seed: each of them three times).
    """
    digest = hashlib.sha256(f"{seed} {request_hash}".encode()).digest()
    strikes, kind, times = (int.from_bytes(digest[i : i + 8]) / 2**64 for i in (0, 8, 16))
    if strikes >= share:
        return None
    kinds = TRANSPORT + CONTENT
    chosen = kinds[int(kind * len(kinds))]
    if chosen in CONTENT or times < FOR_GOOD:
        return Fault(chosen)
    return Fault(chosen, 1 if times < (1 + FOR_GOOD) / 2 else 2)


def full_name(model: str) -> str:
    """Return a model's name with its tag."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def pieces(text: str) -> list[str]:
    """Cut a text into about as many parts as a model's tokens would make, at most 100."""
    size = max(8, len(text) // 100 + 1)
    return [text[start : start + size] for start in range(0, len(text), size)]


def vector(text: str) -> list[float]:
    """Count a text's groups of three letters, hashed, and scale to length 1."""
    counts, padded = [0.0] * DIM, f" {text.casefold()} "
    for start in range(max(len(padded) - 2, 1)):
        counts[zlib.crc32(padded[start : start + 3].encode()) % DIM] += 1.0
    length = math.sqrt(sum(count * count for count in counts))
    return [count / length for count in counts]


class OllamaServer(ThreadingHTTPServer):
    """Serves on loopback while the ``with`` block lasts.

    Attributes:
        models: Digest of each pulled model.
        replies: Maps a chat request to the text of the reply.
        requests: (path, body) of every call; None keeps none.
        delay: Seconds before each reply.
        drip: Seconds between the parts of a stream.
        stall: Seconds that the fault ``stalls`` is silent; longer than the client's patience.
        fault: Maps the hash of a chat request to what goes wrong with it.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, models: Iterable[str] = ("small",), *, port: int = 0,
        replies: Callable[[Request], str] = lambda request: "hello there", log: bool = True,
        fault: Callable[[str], Fault | None] = lambda request_hash: None, stall: float = 30.0,
    ) -> None:  # fmt: skip
        super().__init__(("127.0.0.1", port), _Handler)
        self.models: dict[str, str] = {}
        for model in models:
            self.add(model)
        self.replies, self.fault, self.stall = replies, fault, stall
        self.requests: list[tuple[str, Any]] | None = [] if log else None
        self.delay = self.drip = 0.0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.struck: dict[bytes, int] = {}  # attempts of requests with a passing fault
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.open: set[Any] = set()

    def add(self, model: str) -> None:
        """Pull a model."""
        self.models[full_name(model)] = hashlib.sha256(full_name(model).encode()).hexdigest()

    def strikes(self, request: Request) -> str | None:
        """Count an attempt; return the kind of fault that strikes it."""
        name = request_hash(request)
        fault = self.fault(name)
        if fault is None or fault.times is None:
            return fault and fault.kind
        with self.lock:
            key = bytes.fromhex(name)
            before = self.struck.get(key, 0)
            self.struck[key] = min(before + 1, fault.times)
        return fault.kind if before < fault.times else None

    def __enter__(self) -> OllamaServer:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.shutdown()
        self.stopping.set()
        self.server_close()
        for connection in list(self.open):  # those kept alive too
            with suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up; tell of everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write an answer
    server: OllamaServer

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._log(None)
        if self.path == "/":
            self._send(b"Ollama is running", kind="text/plain; charset=utf-8")
        elif self.path == "/api/version":
            self._json({"version": "0.12.0"})
        elif self.path == "/api/tags":
            self._json({"models": [self._model(name) for name in list(self.server.models)]})
        elif self.path == "/api/ps":
            loaded = {"expires_at": NOW, "size_vram": 0, "context_length": 8192}
            self._json({"models": [self._model(n) | loaded for n in list(self.server.models)]})
        else:
            self._send(b"404 page not found", 404, "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        endpoints = {
            "/api/chat": self._chat, "/api/generate": self._generate, "/api/show": self._show,
            "/api/embed": self._embed, "/api/pull": self._pull,
        }  # fmt: skip
        if self.path not in endpoints:
            return self._send(b"404 page not found", 404, "text/plain")
        if not body:
            return self._error(400, "missing request body")
        try:
            request = json.loads(body)
            assert isinstance(request, dict)
        except (ValueError, AssertionError):
            return self._error(400, "invalid character in the request body")
        self._log(request)
        name = request.get("model")
        if not name:
            return self._error(400, "model is required")
        if self.path != "/api/pull" and full_name(name) not in self.server.models:
            return self._error(404, f"model '{name}' not found")
        return endpoints[self.path](request)

    def _chat(self, request: Request) -> None:
        fault = self.server.strikes(request)
        if fault == "refuses":
            self.close_connection = True
        elif fault == "stalls":
            self.close_connection = True
            self.server.stopping.wait(self.server.stall)
        elif fault in STATUS:
            name = request["model"]
            text = f"model '{name}' not found" if fault == "404 model" else f"fault: {fault}"
            self._error(STATUS[fault], text)
        elif not request.get("messages"):
            reason = "unload" if request.get("keep_alive") == 0 else "load"
            self._json(self._part(request, "") | {"done": True, "done_reason": reason})
        else:
            self._answer(request, self._text(request, fault), fault)

    def _generate(self, request: Request) -> None:
        prompt = request.get("prompt") or ""
        if not prompt:
            done = {"done": True, "done_reason": "load"}
            return self._json(self._part(request, "") | done)
        messages = [{"role": "user", "content": prompt}]
        return self._answer(request, self._text(request | {"messages": messages}, None), None)

    def _text(self, request: Request, fault: str | None) -> str:
        if self.server.delay:
            self.server.stopping.wait(self.server.delay)
        if fault == "enormous":
            return "la la la" * 250_000
        if fault == "empty":
            return ""
        if fault == "wrong JSON":
            text = self.server.replies(request)
            return text[: len(text) // 2] if text.startswith("{") else '{"action": "recomm'
        if fault == "echoes the schema":
            return json.dumps(request.get("format") or {"type": "object"})
        return FOREIGN if fault == "wrong language" else self.server.replies(request)

    def _answer(self, request: Request, text: str, fault: str | None) -> None:
        asked = sum(len(message.get("content") or "") for message in request.get("messages", []))
        tokens = len(text) // 8 + 1
        last = self._part(request, "") | {
            "done": True, "done_reason": "stop", "total_duration": 1_000_000 * tokens,
            "load_duration": 100_000, "prompt_eval_count": asked // 4 + 1,
            "prompt_eval_duration": 100_000, "eval_count": tokens,
            "eval_duration": 900_000 * tokens,
        }  # fmt: skip
        if not request.get("stream", True):
            if fault == "error line":
                return self._error(500, "the runner has stopped")
            if fault == "cut":
                self.close_connection = True
                return self._send(json.dumps(last).encode(), shortened=9)
            return self._json(last | self._said(text))
        lines = [self._part(request, piece) for piece in pieces(text)]
        if fault in ("cut", "error line"):
            lines = lines[: max(len(lines) // 2, 1)]
            last = {"error": "the runner has stopped"}
        self._stream([*lines, last][: len(lines) if fault == "cut" else None], fault == "cut")
        return None

    def _part(self, request: Request, text: str) -> Request:
        return {"model": request["model"], "created_at": NOW, "done": False} | self._said(text)

    def _said(self, text: str) -> Request:
        chat = self.path == "/api/chat"
        return {"message": {"role": "assistant", "content": text}} if chat else {"response": text}

    def _show(self, request: Request) -> None:
        name = full_name(request["model"])
        self._json({
            "modelfile": f"FROM {name}", "parameters": "", "template": "{{ .Prompt }}",
            "details": self._model(name)["details"], "model_info": {"general.architecture": "none"},
            "capabilities": ["completion", "embedding"], "modified_at": NOW,
        })  # fmt: skip

    def _embed(self, request: Request) -> None:
        given = request.get("input", "")
        texts = [given] if isinstance(given, str) else given
        self._json({
            "model": request["model"], "embeddings": [vector(text) for text in texts],
            "total_duration": 1_000_000, "load_duration": 100_000,
            "prompt_eval_count": sum(len(text) // 4 + 1 for text in texts),
        })  # fmt: skip

    def _pull(self, request: Request) -> None:
        """Pull anything but what is called ``missing``."""
        lines: list[Request] = [{"status": "pulling manifest"}]
        stream = request.get("stream", True)
        if request["model"] == "missing":
            text = "pull model manifest: file does not exist"
            return self._stream([*lines, {"error": text}]) if stream else self._error(500, text)
        self.server.add(request["model"])
        digest = "sha256:" + self.server.models[full_name(request["model"])]
        layer = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": 1000}
        lines += [layer | {"completed": done} for done in (0, 500, 1000)]
        words = ("verifying sha256 digest", "writing manifest", "success")
        lines += [{"status": word} for word in words]
        return self._stream(lines) if stream else self._json(lines[-1])

    def _model(self, name: str) -> Request:
        return {
            "name": name, "model": name, "modified_at": NOW, "size": 1000,
            "digest": self.server.models[name],
            "details": {
                "parent_model": "", "format": "gguf", "family": "none", "families": ["none"],
                "parameter_size": "1K", "quantization_level": "F32",
            },
        }  # fmt: skip

    def _log(self, request: Request | None) -> None:
        if self.server.requests is not None:
            self.server.requests.append((self.path, request))

    def _error(self, status: int, text: str) -> None:
        self._json({"error": text}, status)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status)

    def _send(
        self, body: bytes, status: int = 200, kind: str = "application/json; charset=utf-8",
        shortened: int = 0,
    ) -> None:  # fmt: skip
        self.wfile.write(self._head(status, kind, f"Content-Length: {len(body)}"))
        self.wfile.write(body[: len(body) - shortened])
        self.wfile.flush()

    def _stream(self, lines: list[Any], cut: bool = False) -> None:
        head = self._head(200, "application/x-ndjson", "Transfer-Encoding: chunked")
        self.wfile.write(head)
        for line in lines:
            data = json.dumps(line).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            if self.server.drip:
                self.wfile.flush()
                self.server.stopping.wait(self.server.drip)
        if cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _head(self, status: int, kind: str, length: str) -> bytes:
        first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
        return f"{first}Date: {self.date_time_string()}\r\n{length}\r\n\r\n".encode()


def simulated() -> Callable[[Request], str]:
    """Return the simulated chat model over the small world, as ``replies``."""
    import minirec

    world = minirec.small_world()
    items = world.catalogue
    chat = minirec.SimulatedChat(items.titles, items.genres, world.item_factors, world.quality)

    def replies(request: Request) -> str:
        schema = request.get("format")
        free = {} if schema is None else {"schema": schema}
        seed = (request.get("options") or {}).get("seed", 0)
        # the client leaves out a content that is empty
        messages: Any = [{"content": "", **message} for message in request["messages"]]
        return chat.reply(messages, seed=seed, **free).text

    return replies


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--model", default="small", help="the one model that is pulled")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="decides which requests")
    parser.add_argument("--stall", type=float, default=30.0, help="seconds of silence")
    given = parser.parse_args()
    with OllamaServer(
        [given.model], port=given.port, replies=simulated(), log=False, stall=given.stall,
        fault=lambda name: fault_of(name, given.seed, given.faults),
    ) as server:  # fmt: skip
        print(server.url, flush=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
