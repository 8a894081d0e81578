"""Chat models and text vectors of Ollama servers, through the official client."""

from __future__ import annotations

import json
import os
import time
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from typing import Any

import httpx
import numpy as np
from ollama import Client, ResponseError

from minirec._io import FloatArray, UserError
from minirec.demos.chat import ChatError, Hiccup, Message, Reply, persist

CHUNK = 64  # texts a request for vectors


class OllamaChat:
    """Asks a model that one or several Ollama servers run; threads may share it.

    Attempt k of a request goes to server ``(crc32 + k) mod n``, with the checksum of the request:
    that spreads the calls, and the server after one that fails gets the next try. Built in
    chapter 5.

    Args:
        model: Name of a pulled model, like ``llama3.2``.
        hosts: Addresses of the servers; None takes ``OLLAMA_HOST``, then the local default.
        temperature: Spread of the sampling, dimensionless; 0 is greedy.
        num_ctx: Longest prompt and reply together, in tokens.
        num_predict: Longest reply, in tokens.
        keep_alive: How long the model stays loaded after a call, as Ollama writes it.
        timeout: Longest wait for one reply, in seconds.
        attempts: How often a request is made at most.
        pause: Seconds before the second attempt; each further pause is twice as long.
        longest: Longest reply, in characters.

    Raises:
        UserError: If the model has no name or an address cannot be read.
    """

    def __init__(
        self, model: str, *, hosts: str | Sequence[str] | None = None, temperature: float = 0.5,
        num_ctx: int = 8192, num_predict: int = 512, keep_alive: str = "10m",
        timeout: float = 120.0, attempts: int = 4, pause: float = 0.5, longest: int = 20_000,
    ) -> None:  # fmt: skip
        if not model:
            raise UserError("the Ollama model has no name; write it as ollama:MODEL")
        self.name, self.keep_alive, self.timeout = model, keep_alive, timeout
        self.attempts, self.pause, self.longest = attempts, pause, longest
        self.options = {"temperature": temperature, "num_ctx": num_ctx, "num_predict": num_predict}
        self.clients = _clients(hosts, timeout)
        for client in self.clients.values():
            weakref.finalize(self, client._client.close)  # few versions can close it themselves

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the model's name and digest, and the options less the seed.

        Raises:
            UserError: As :meth:`check` does for every server.
        """
        return {"model": self.name, "digest": self.check(every=True), "options": self.options}

    def check(self, every: bool = False) -> str:
        """Return the model's digest.

        Args:
            every: Every server must be well and hold the same model; otherwise one is enough.

        Raises:
            UserError: If a server does not answer or lacks the model, or if they hold different
                ones; the message says what to run.
        """
        digests, wrong, mend = dict[str, str](), list[str](), f"run `ollama pull {self.name}`"
        full = self.name if ":" in self.name.rpartition("/")[2] else f"{self.name}:latest"
        for host, client in self.clients.items():
            try:
                with _hiccups():
                    held = {entry.model: entry.digest or "" for entry in client.list().models}
                digests[host] = held[full]
            except Hiccup as hiccup:
                start = "run `ollama serve` or set OLLAMA_HOST"
                wrong.append(f"no Ollama server answers at {host} ({hiccup}); {start}")
            except KeyError:
                wrong.append(f"the Ollama server at {host} has no model {self.name!r}; {mend}")
        if every and len(set(digests.values())) > 1:
            said = ", ".join(f"{host} holds {digest[:12]}" for host, digest in digests.items())
            wrong.append(f"{self.name} differs between servers: {said}; {mend} where it is older")
        if wrong and (every or not digests):
            raise UserError(wrong[0])
        return next(iter(digests.values()))

    def reply(
        self, messages: Sequence[Message], *, seed: int, schema: dict[str, Any] | None = None
    ) -> Reply:
        """Return the model's reply, perhaps an empty one; what failed is asked again.

        Raises:
            ChatError: If every attempt failed although a server holds the model.
            UserError: If none does.
        """
        clients = list(self.clients.values())
        first = zlib.crc32(json.dumps([*messages, seed]).encode())
        options = self.options | {"seed": seed}

        def ask(attempt: int) -> Reply:
            """Ask one server; streaming bounds how long the reply and the wait can grow."""
            text, part, deadline = "", None, time.monotonic() + self.timeout
            parts: Any = clients[(first + attempt) % len(clients)].chat(
                self.name, messages, stream=True, format=schema, options=options,
                keep_alive=self.keep_alive,
            )  # fmt: skip
            with _hiccups(), closing(parts):
                for part in parts:
                    text += part.message.content or ""
                    if len(text) > self.longest:
                        raise Hiccup(f"longer than {self.longest} characters")
                    if time.monotonic() > deadline:
                        raise Hiccup("timeout")
                text.encode()  # raises where half a character is left: no file could hold it
            if part is None or not part.done:
                raise Hiccup("cut off")
            return Reply(text, part.prompt_eval_count or 0, part.eval_count or 0)

        return persist(ask, self.check, self.attempts, self.pause)


class OllamaVectors:
    """Text vectors of a model that one or several Ollama servers run. Built in chapter 5.

    Args:
        model: Name of a pulled model for embeddings, like ``nomic-embed-text``.
        hosts: Addresses of the servers; None takes ``OLLAMA_HOST``, then the local default.

    Raises:
        UserError: If the model has no name or the address cannot be read.
    """

    def __init__(self, model: str, hosts: str | Sequence[str] | None = None) -> None:
        self.name, self._chat = model, OllamaChat(model, hosts=hosts)

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Return a vector of length 1 for each text, shape (n, d), float32.

        Raises:
            UserError: If there is no server, it lacks the model, or every attempt failed.
        """
        rows, chat = list[FloatArray](), self._chat
        for start in range(0, len(texts), CHUNK):
            ask = partial(self._embed, texts[start : start + CHUNK], rows)
            try:
                persist(ask, chat.check, chat.attempts, chat.pause)
            except ChatError as error:  # nothing can be done without: a reply can, a vector cannot
                mend = "look at the server, then go on with --resume"
                raise UserError(f"no text vectors by {self.name}: {error}; {mend}") from None
        every = np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)
        length = np.linalg.norm(every, axis=1, keepdims=True)
        return np.asarray(every / np.maximum(length, 1e-12), np.float32)

    def _embed(self, texts: Sequence[str], rows: list[FloatArray], attempt: int) -> Reply:
        """Append the vectors of a few texts, shape (n, d)."""
        clients = list(self._chat.clients.values())
        client = clients[attempt % len(clients)]
        with _hiccups():
            found = client.embed(self.name, list(texts)).embeddings
            pairs = zip(texts, found, strict=True)  # raises unless there is a vector for each text
            rows.append(np.array([vector for _, vector in pairs], np.float32))
        return Reply("")


def _clients(hosts: str | Sequence[str] | None, timeout: float) -> dict[str, Client]:
    """Return a client for each address; the keys leave out names and passwords."""
    hosts, clients = hosts or os.environ.get("OLLAMA_HOST") or "127.0.0.1:11434", {}
    for number, host in enumerate([hosts] if isinstance(hosts, str) else hosts, 1):
        try:
            url = httpx.URL(host if "://" in host else f"http://{host}")
            auth = (url.username, url.password) if url.userinfo else None  # the client drops it
            plain = host.rpartition("@")[2].partition("?")[0]
            clients[plain] = Client(host, timeout=timeout, auth=auth)
        except (ValueError, httpx.InvalidURL):
            mend = "write it as http://HOST:PORT"
            raise UserError(f"address {number} of Ollama is not readable; {mend}") from None
    return clients


@contextmanager
def _hiccups() -> Iterator[None]:
    """Say in our own words what the client raises."""
    try:
        yield
        return
    except httpx.TimeoutException:
        kind = "timeout"
    except (httpx.ReadError, httpx.RemoteProtocolError):
        kind = "cut off"
    except (ConnectionError, httpx.TransportError):
        kind = "no connection"
    except ResponseError as error:
        kind = f"status {error.status_code}" if error.status_code > 0 else "error in the stream"
    except (ValueError, TypeError, AttributeError, httpx.HTTPError):  # a line is not what it should
        kind = "unreadable answer"
    raise Hiccup(kind)
