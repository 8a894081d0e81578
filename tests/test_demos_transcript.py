"""Transcripts: whole, complete, free of doubles; replayed without the model."""

from __future__ import annotations

import gzip
import json
import runpy
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minirec._io import UserError
from minirec.demos.chat import ChatError, Message, Reply
from minirec.demos.transcript import BUNDLED, Transcript

ROOT = Path(__file__).parents[1]
ASK: list[Message] = [{"role": "user", "content": "Grüß Gott\u2028 «you» which title?"}]
SECRET = "sk-very-secret"
SETTINGS = {"model": "echo", "digest": "abc", "options": {"temperature": 0.5}}


class Echo:
    """Answers with the seed; fails for good where the seed is divisible by three."""

    name = "echo"

    def __init__(self) -> None:
        self.asked, self.key = list[int](), SECRET
        self.settings = dict(SETTINGS)
        self._lock = threading.Lock()

    def reply(self, messages: Sequence[Message], *, seed: int, schema: Any = None) -> Reply:
        with self._lock:
            self.asked.append(seed)
        if seed % 3 == 0:
            raise ChatError("timeout", 4)
        return Reply(f"seed {seed} «{messages[0]['content']}»", 7, 2, 0.1234, 1 + seed % 2)


def ask(chat: Transcript, seeds: Sequence[int]) -> list[Any]:
    found = []
    for seed in seeds:
        try:
            found.append(chat.reply(ASK, seed=seed))
        except ChatError as error:
            found.append((error.kind, error.attempts))
    return found


def test_what_was_recorded_is_replayed_failures_included(tmp_path: Path) -> None:
    path, echo = tmp_path / "new" / "transcript.jsonl", Echo()
    recording = Transcript(path, echo, "record")
    said = ask(recording, range(6))
    assert (recording.calls, recording.failed, recording.reply_tokens) == (6, 2, 8)
    assert recording.retries == 3 + 3 + 2 and "6 calls" in recording.progress()
    again = Transcript(path, echo, "record")
    assert [repr(r) for r in ask(again, range(6))] == [repr(as_kept(r)) for r in said]
    assert len(echo.asked) == 6 and again.calls == 0  # a final failure stays final
    replayed = Transcript(path)
    assert ask(replayed, range(6)) == ask(again, range(6)) and len(replayed) == 6
    assert replayed.name == "echo" and replayed.settings == SETTINGS
    with pytest.raises(UserError, match="does not hold this request"):
        replayed.reply(ASK, seed=7)
    with pytest.raises(UserError, match="does not hold this request"):
        replayed.reply(ASK, seed=1, schema={"type": "object"})


def as_kept(reply: Any) -> Any:
    """Return a reply as a transcript keeps it: seconds with three decimals."""
    if not isinstance(reply, Reply):
        return reply
    return Reply(reply.text, reply.prompt_tokens, reply.reply_tokens, 0.123, reply.attempts)


def test_a_line_holds_what_it_must_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    ask(Transcript(path, Echo(), "record"), [1, 3])
    lines = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    assert [line["reply"] is None for line in lines] == [False, True]
    assert lines[1]["error"] == "timeout" and lines[0]["error"] is None
    assert lines[0]["request"] == {"messages": ASK, "seed": 1, "schema": None}
    assert lines[0]["model"] == SETTINGS
    kept = {"hash", "model", "request", "reply", "error", "prompt_tokens", "reply_tokens"}
    assert set(lines[0]) == kept | {"attempts", "seconds", "check"}
    assert SECRET not in path.read_text("utf-8")


def test_any_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    ask(Transcript(path, Echo(), "record"), [1, 2])
    whole = path.read_bytes()
    for place in range(len(whole) - 1):  # the last newline makes the line: see the next test
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="not as it was written"):
            Transcript(path)
    path.write_bytes(whole + whole)
    with pytest.raises(UserError, match="line 3 repeats an earlier request"):
        Transcript(path)


def test_a_line_that_was_cut_off_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    ask(Transcript(path, Echo(), "record"), [1, 2, 4])
    whole = path.read_bytes()
    for cut in (1, 2, 40, 300):
        path.write_bytes(whole[:-cut])
        assert len(Transcript(path)) == 2
        echo = Echo()
        ask(Transcript(path, echo, "record"), [1, 2, 4])
        assert echo.asked == [4] and path.read_bytes() == whole


def test_modes(tmp_path: Path) -> None:
    path, echo = tmp_path / "transcript.jsonl", Echo()
    with pytest.raises(UserError, match="no transcript"):
        Transcript(path)
    with pytest.raises(UserError, match="cannot record without a chat model"):
        Transcript(path, mode="record")
    ask(Transcript(path, echo, "record"), [1])
    before = path.read_bytes()
    ask(Transcript(path, echo, "live"), [1, 2])
    assert echo.asked == [1, 1, 2] and path.read_bytes() == before
    assert ask(Transcript(path, echo), [1]) and echo.asked == [1, 1, 2]  # replay asks nobody
    echo.settings = echo.settings | {"digest": "pulled again"}
    with pytest.raises(UserError, match="use a transcript for each model"):
        Transcript(path, echo, "record")


def test_threads_may_ask_at_once(tmp_path: Path) -> None:
    path, echo = tmp_path / "transcript.jsonl", Echo()
    recording = Transcript(path, echo, "record")
    threads = [threading.Thread(target=ask, args=(recording, range(1, 60))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Transcript(path)) == 59 == len(path.read_bytes().splitlines())
    assert set(echo.asked) == set(range(1, 60))


def test_the_bundled_transcript_replays_with_sockets_blocked_as_it_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    tool = runpy.run_path(str(ROOT / "tools/record_transcript.py"))
    bundled = Transcript(BUNDLED)
    anew = Transcript(tmp_path / "anew", tool["simulated"](), "record")
    assert "simulated" in bundled.name
    for way in tool["WAYS"]:
        replayed, played = (list(tool["play"](chat, way)) for chat in (bundled, anew))
        assert [t.infos for t in replayed] == [t.infos for t in played]
        assert sum(map(len, replayed)) > 100
    assert len(bundled) == len(anew) == anew.calls


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    packed, path = bytearray(BUNDLED.read_bytes()), tmp_path / "t.jsonl.gz"
    for place in (3, 5000, len(packed) - 6):
        changed = packed.copy()
        changed[place] ^= 64
        path.write_bytes(changed)
        if gzip_reads(path):
            continue  # a byte of the header that means nothing
        with pytest.raises(UserError, match="is damaged"):
            Transcript(path)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match="is damaged"):
        Transcript(path)


def gzip_reads(path: Path) -> bool:
    """Whether the archive still unpacks to the very same lines."""
    try:
        return gzip.decompress(path.read_bytes()) == gzip.decompress(BUNDLED.read_bytes())
    except (OSError, EOFError, ValueError):
        return False
    except Exception as error:  # zlib.error
        assert type(error).__name__ == "error"
        return False
