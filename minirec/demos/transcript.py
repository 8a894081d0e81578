"""Transcripts: every call of a chat model in a file, so that it can be replayed without the model.

One line a call, in this order: ``hash`` of model and request, ``model`` (name, digest, options),
``request`` (messages, seed, schema), ``reply`` or the ``error`` it ended in for good, tokens,
attempts, seconds; and ``check``, the SHA-256 of the line up to there. Keys and passwords stay with
the clients: nothing here knows them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

from minirec._io import UserError
from minirec.demos.chat import ChatError, ChatModel, Message, Reply

Mode = Literal["replay", "record", "live"]
# calls of the simulated chat model, for the chapters: all roles, in the small world
BUNDLED = Path(__file__).parents[1] / "_bundled" / "simulated-transcript.jsonl.gz"
_CHECK = b', "check": "'


def request_hash(model: dict[str, Any], request: dict[str, Any]) -> str:
    """Return the SHA-256 of what a reply depends on, as hexadecimal text."""
    text = json.dumps([model, request], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Transcript:
    """A chat model with a memory for its calls. Built in chapter 5.

    ``replay`` answers from the file alone and refuses what is not in it. ``record`` answers from
    the file what it holds, a final failure included, and asks and appends what it does not.
    ``live`` asks whatever the file says, and leaves it alone. Lines are appended by single writes;
    a last line that was cut off is not a line. Threads may ask at the same time.

    Args:
        path: The file: JSON lines; for ``replay`` also compressed, if its name ends in ``.gz``.
        chat: Who is asked; ``replay`` needs nobody.
        mode: See above.

    Attributes:
        calls: How many calls were made of ``chat``; likewise ``retries``, ``failed`` (for good)
            and ``reply_tokens``.

    Raises:
        UserError: If the file is missing or damaged, holds a request twice, or belongs to another
            model; or if ``chat`` is missing.
    """

    def __init__(
        self, path: str | Path, chat: ChatModel | None = None, mode: Mode = "replay"
    ) -> None:
        if mode != "replay" and chat is None:
            raise UserError(f"a transcript cannot {mode} without a chat model; give it one")
        self.path, self.chat, self.mode = Path(path), None if mode == "replay" else chat, mode
        self.calls = self.retries = self.failed = self.reply_tokens = 0
        self._lock, self._lines = threading.Lock(), dict[str, tuple[int, int]]()
        self._unpacked: bytes | None = None
        self._started = time.monotonic()
        self._model: dict[str, Any] = {} if self.chat is None else self.chat.settings
        if mode == "replay" and not self.path.is_file():
            raise UserError(f"no transcript {path}; record one, or name another chat model")
        if mode != "live" and self.path.is_file():
            self._index()

    @property
    def name(self) -> str:
        """Return the name of the model whose calls these are."""
        return str(self._model.get("model", self.path.name))

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of the model whose calls these are."""
        return self._model

    def progress(self) -> str:
        """Say in a few words what has been asked so far, and how fast."""
        rate = self.reply_tokens / max(time.monotonic() - self._started, 1e-9)
        return f"{self.calls:,} calls, {rate:.0f} tokens/s, {self.failed} failed"

    def __len__(self) -> int:
        """Return the number of calls in the file."""
        return len(self._lines)

    def reply(
        self, messages: Sequence[Message], *, seed: int, schema: dict[str, Any] | None = None
    ) -> Reply:
        """Return the reply of the file or of the model, according to the mode.

        Raises:
            ChatError: If the call failed for good, now or when it was recorded.
            UserError: If it is not in the file and nobody may be asked.
        """
        request = {"messages": list(messages), "seed": seed, "schema": schema}
        key = request_hash(self._model, request)
        line = self._read(key)
        if line is None and self.chat is None:
            mend = "ask as it was recorded, or record it with a chat model"
            raise UserError(f"{self.path} does not hold this request ({key[:12]}); {mend}")
        line = line or self._ask(self.chat, key, request)  # type: ignore[arg-type]
        if line["error"] is not None:
            raise ChatError(line["error"], line["attempts"])
        return Reply(line["reply"], line["prompt_tokens"], line["reply_tokens"], line["seconds"],
                     line["attempts"])  # fmt: skip

    def _ask(self, chat: ChatModel, key: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the model, count, and keep what came of it."""
        error = None
        try:
            reply = chat.reply(**request)
        except ChatError as failure:
            error, reply = failure.kind, Reply("", attempts=failure.attempts)
        line = {
            "hash": key, "model": self._model, "request": request,
            "reply": None if error else reply.text, "error": error,
            "prompt_tokens": reply.prompt_tokens, "reply_tokens": reply.reply_tokens,
            "attempts": reply.attempts, "seconds": round(reply.seconds, 3),
        }  # fmt: skip
        with self._lock:
            self.calls += 1
            self.retries += reply.attempts - 1
            self.failed += error is not None
            self.reply_tokens += reply.reply_tokens
            if self.mode == "record" and key not in self._lines:
                self._append(line)
        return line

    def _append(self, line: dict[str, Any]) -> None:
        """Append a line with a single write."""
        body = json.dumps(line, ensure_ascii=False)[:-1].encode()
        body += _CHECK + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            start = file.tell()
            file.write(body)
        self._lines[line["hash"]] = start, len(body)

    def _read(self, key: str) -> dict[str, Any] | None:
        """Return the line of a request, if the file holds it."""
        if self.mode == "live" or key not in self._lines:
            return None
        start, length = self._lines[key]
        with self._lock, self._open() as file:
            file.seek(start)
            return dict(json.loads(file.read(length)))

    def _open(self) -> IO[bytes]:
        if self.path.suffix != ".gz":
            return self.path.open("rb")
        try:
            self._unpacked = self._unpacked or gzip.decompress(self.path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{self.path} is damaged ({error}); restore it") from None
        return io.BytesIO(self._unpacked)

    def _index(self) -> None:
        """Note where each line is, and check every byte of the file."""
        start = 0
        with self._open() as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                self._lines[self._checked(raw, number)] = start, len(raw)
                start += len(raw)
        if self.mode == "record" and start < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(start)  # a line that was cut off

    def _checked(self, raw: bytes, number: int) -> str:
        """Return the hash of a line's request."""
        body, _, check = raw.rpartition(_CHECK)
        where = f"{self.path}, line {number}"
        if check != hashlib.sha256(body).hexdigest().encode() + b'"}\n':
            raise UserError(f"{where} is not as it was written; restore the file, or delete the "
                            "line to have it asked again")  # fmt: skip
        line = json.loads(body + b"}")
        if line["hash"] in self._lines:
            raise UserError(f"{where} repeats an earlier request; delete one of the two lines")
        self._model = self._model or line["model"]
        if request_hash(line["model"], {}) != request_hash(self._model, {}):  # a tuple is a list
            raise UserError(f"{where} is by {line['model']}, not by {self._model}; "
                            "use a transcript for each model and its options")  # fmt: skip
        return str(line["hash"])
