"""A chat model on an Ollama server, through the official client."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from ollama import Client, ResponseError

from minirec._io import UserError
from minirec.demos.chat import Message


class OllamaChat:
    """Asks a model that an Ollama server runs. Built in chapter 5.

    Args:
        model: Name of a pulled model, like ``llama3.2``.
        host: Address of the server; None takes ``OLLAMA_HOST``, then the local default.
        temperature: Spread of the sampling, dimensionless; 0 is greedy.
        num_ctx: Longest prompt and reply together, in tokens.
        num_predict: Longest reply, in tokens.
        timeout: Longest wait for one reply, in seconds.
    """

    def __init__(
        self, model: str, *, host: str | None = None, temperature: float = 0.5,
        num_ctx: int = 8192, num_predict: int = 512, timeout: float = 120.0,
    ) -> None:  # fmt: skip
        if not model:
            raise UserError("the Ollama model has no name; write it as ollama:MODEL")
        self.name, self.timeout = model, timeout
        self.options = {"temperature": temperature, "num_ctx": num_ctx, "num_predict": num_predict}
        self._client = Client(host, timeout=timeout)

    def reply(self, messages: Sequence[Message], *, seed: int) -> str:
        """Return the model's reply.

        Raises:
            UserError: If there is no server, the model is not there, or the reply takes too long.
        """
        options = self.options | {"seed": seed}
        try:
            answer = self._client.chat(self.name, messages=messages, options=options)
        except ResponseError as error:
            mend = f"; run `ollama pull {self.name}`" if error.status_code == 404 else ""
            raise UserError(f"the Ollama server says: {error.error}{mend}") from None
        except httpx.TimeoutException:
            mend = "raise timeout or use a smaller model"
            raise UserError(f"{self.name} gave no reply in {self.timeout:g} s; {mend}") from None
        except (ConnectionError, httpx.TransportError):
            mend = "run `ollama serve` or set OLLAMA_HOST"
            raise UserError(f"no Ollama server answers; {mend}") from None
        return answer.message.content or ""
