"""What the demonstrator talks to: anything that maps messages to a reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypedDict


class Message(TypedDict):
    """One message of a conversation, in the form that chat servers take."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Reply:
    """What came back from a call.

    Attributes:
        text: The raw reply.
        prompt_tokens: How many tokens the model read.
        reply_tokens: How many it wrote.
        seconds: How long the call took that succeeded.
        attempts: How many calls it took, this one included.
    """

    text: str
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1


class ChatError(RuntimeError):
    """A call that failed for good although the server is well; the run goes on without it.

    Attributes:
        kind: How the last attempt failed, in a few words of ours: no text of the server's.
        attempts: How many there were.
    """

    def __init__(self, kind: str, attempts: int) -> None:
        super().__init__(f"no reply in {attempts} attempts, at last: {kind}")
        self.kind, self.attempts = kind, attempts


class Hiccup(RuntimeError):
    """One attempt that failed and may be made again; its text is the kind of failure."""


class ChatModel(Protocol):
    """A chat model: real, recorded or simulated. Built in chapter 5."""

    @property
    def name(self) -> str:
        """Return what results call it; a simulated model has ``simulated`` in its name."""

    @property
    def settings(self) -> dict[str, Any]:
        """Return what replies depend on besides the request, such as digest and options: JSON.

        Raises:
            UserError: If the model cannot be asked at all; the message says how to mend it.
        """

    def reply(
        self, messages: Sequence[Message], *, seed: int, schema: dict[str, Any] | None = None
    ) -> Reply:
        """Return a reply; the same request gives the same one where possible.

        Args:
            messages: The conversation.
            seed: For the model's sampling.
            schema: JSON schema of the reply; None leaves its form free.

        Raises:
            ChatError: If this call failed for good.
            UserError: If no call can succeed; the message says how to mend it.
        """


def persist(
    ask: Callable[[int], Reply], check: Callable[[], Any], attempts: int, pause: float
) -> Reply:
    """Ask until there is a reply, ``attempts`` times at most, waiting twice as long each time.

    Args:
        ask: Gets the number of the attempt, from 0.
        check: Raises a ``UserError`` if the server or the model is gone. Only where it is well is
            a call given up for good.
        attempts: At least 1.
        pause: Seconds before the second attempt.

    Raises:
        ChatError: If every attempt failed and ``check`` finds nothing wrong.
        UserError: If ``check`` does.
    """
    kind = ""
    for attempt in range(attempts):
        try:
            started = time.monotonic()
            reply = ask(attempt)
            return replace(reply, seconds=time.monotonic() - started, attempts=attempt + 1)
        except Hiccup as hiccup:
            kind = str(hiccup)
        if attempt + 1 < attempts:
            time.sleep(pause * 2**attempt)
    check()
    raise ChatError(kind, attempts)
