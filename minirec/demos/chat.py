"""What the demonstrator talks to: anything that maps messages to a reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypedDict


class Message(TypedDict):
    """One message of a conversation, in the form that chat servers take."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatModel(Protocol):
    """A chat model: real, recorded or simulated. Built in chapter 5."""

    @property
    def name(self) -> str:
        """Return what results call it; a simulated model has ``simulated`` in its name."""

    def reply(self, messages: Sequence[Message], *, seed: int) -> str:
        """Return the raw reply; the same messages and seed give the same reply where possible."""
