"""Text vectors (stand-in)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from minirec._io import FloatArray


class TextVectors(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """Return its name."""

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Return vectors."""


class NgramVectors:
    """Stand-in."""

    name = "ngrams"

    def __init__(self, dim: int = 512) -> None:
        self.dim = dim

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Return vectors."""
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(out, texts, strict=True):
            for i in range(len(text) - 3):
                row[zlib.crc32(text[i : i + 4].encode()) % self.dim] += 1
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
