"""A chat model behind any server that speaks OpenAI's protocol, through the official client."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from minirec._io import UserError
from minirec.demos.chat import Hiccup, Message, Reply, persist


class OpenAIChat:
    """Asks a model by OpenAI's protocol, which many servers speak; threads may share it.

    The key is read from ``OPENAI_API_KEY`` and shown nowhere. Built in chapter 5.

    Args:
        model: The model's name there.
        base_url: Address of the server; None takes ``OPENAI_BASE_URL``, then OpenAI's own.
        temperature: Spread of the sampling, dimensionless; 0 is greedy.
        num_predict: Longest reply, in tokens.
        timeout: Longest silence of the server, in seconds.
        attempts: How often a request is made at most.
        pause: Seconds before the second attempt; each further pause is twice as long.

    Raises:
        UserError: If the client is not installed, or there is no key, or no such address.
    """

    def __init__(
        self, model: str, *, base_url: str | None = None, temperature: float = 0.5,
        num_predict: int = 512, timeout: float = 120.0, attempts: int = 4, pause: float = 0.5,
    ) -> None:  # fmt: skip
        try:
            import openai
        except ImportError:
            mend = "run `pip install 'minirec[openai]'`"
            raise UserError(f"openai:{model} needs the package openai; {mend}") from None
        self.name, self.attempts, self.pause = model, attempts, pause
        self.options = {"temperature": temperature, "max_tokens": num_predict}
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not key:
            raise UserError("no key: set OPENAI_API_KEY in the environment; it is read from there")
        self._openai: Any = openai
        server: Any = {"base_url": base_url, "timeout": timeout, "max_retries": 0}
        try:
            self._client = openai.OpenAI(api_key=key, **server)
        except Exception:  # its text may hold parts of the address
            raise UserError("base_url is not readable; write it as https://HOST/v1") from None
        plain = self._client.base_url.copy_with(userinfo=b"", query=None, fragment=None)
        self.base_url = str(plain)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the model's name, the server's address and the options less the seed.

        Raises:
            UserError: As :meth:`check` does.
        """
        self.check()
        return {"model": self.name, "base_url": self.base_url, "options": self.options}

    def check(self) -> None:
        """Ask for the list of models; it is enough that the server answers and takes the key.

        Raises:
            UserError: If it does not.
        """
        try:
            with self._hiccups(), suppress(self._openai.NotFoundError):
                self._client.models.list()
        except Hiccup as hiccup:
            if str(hiccup) in ("timeout", "no connection"):
                at = f"no server answers at {self.base_url} ({hiccup})"
                raise UserError(f"{at}; look at base_url and the network") from None

    def reply(
        self, messages: Sequence[Message], *, seed: int, schema: dict[str, Any] | None = None
    ) -> Reply:
        """Return the model's reply, perhaps an empty one; what failed is asked again.

        Raises:
            ChatError: If every attempt failed although the server answers.
            UserError: If it does not, or refuses the key, or does not know the model.
        """
        request: dict[str, Any] = self.options | {"messages": messages, "seed": seed}
        if schema is not None:
            form = {"name": "reply", "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": form}

        def ask(attempt: int) -> Reply:
            with self._hiccups():
                answer = self._client.chat.completions.create(model=self.name, **request)
                text, usage = answer.choices[0].message.content or "", answer.usage
                text.encode()  # raises unless it is text that a file can hold
            counts = (usage.prompt_tokens, usage.completion_tokens) if usage else ()
            return Reply(text, *counts)

        return persist(ask, self.check, self.attempts, self.pause)

    @contextmanager
    def _hiccups(self) -> Iterator[None]:
        """Say in our own words what the client raises; a server's text may repeat the key."""
        openai, refused = self._openai, "refuses the key; set another OPENAI_API_KEY"
        final = {401: refused, 403: refused, 404: f"has no model {self.name!r}; look which it has"}
        try:
            yield
            return
        except openai.APITimeoutError:
            kind = "timeout"
        except openai.APIConnectionError:
            kind = "no connection"
        except openai.APIStatusError as error:
            kind = f"status {error.status_code}"
            if what := final.get(error.status_code):
                raise UserError(f"the server at {self.base_url} {what}") from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, IndexError):
            kind = "unreadable answer"
        raise Hiccup(kind)
