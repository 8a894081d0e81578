"""Text vectors: titles as points, the nearer the more alike the texts."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from minirec._io import FloatArray, IntArray, UserError
from minirec.demos.grounding import normalise

LENGTHS = (3, 4, 5)  # characters of an n-gram


class TextVectors(Protocol):
    """Whatever places texts: n-grams here, or a language model. Built in chapter 5."""

    @property
    def name(self) -> str:
        """Return what results call it."""

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Return one float32 row a text, (n, d), of length 1, or of 0s if it is like no other."""


class NgramVectors:
    """Counts what words are made of; it needs no model and knows no meaning. Built in chapter 5.

    Every n-gram of 3 to 5 characters of a normalised word, the blanks around it included, adds to
    one of ``dim`` places with one of two signs, by its CRC-32 (Weinberger et al., Feature Hashing
    for Large Scale Multitask Learning, ICML 2009). A repeated one adds 1 + log(count). So word
    order does not matter, and spelling a little. A text without any word gets 0s: it is alike to
    nothing, where any other fixed vector would be near to some titles by accident.

    >>> crypts, near, far = NgramVectors().vectors(["The Ashen Crypts", "Crypt, Ashen", "Harbor"])
    >>> bool(crypts @ near > 0.7 > 0.2 > crypts @ far)
    True

    Args:
        dim: Length d of the vectors.
    """

    def __init__(self, dim: int = 512) -> None:
        self.dim, self.name = dim, f"n-grams, {dim}"

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Return one float32 row of length 1 a text, (n, d); 0s for a text without any word."""
        words = [normalise(text).split() for text in texts]
        hashes = {word: _hashes(word) for word in set(chain(*words))}
        sizes = [sum(len(hashes[word]) for word in own) for own in words]
        found = np.concatenate([np.zeros(0, np.int64), *(hashes[w] for own in words for w in own)])
        pairs = np.repeat(np.arange(len(texts)), sizes) << 32 | found
        pairs, counts = np.unique(pairs, return_counts=True)
        rows, grams = pairs >> 32, pairs & 0xFFFFFFFF
        placed = np.zeros((len(texts), self.dim))
        signs = np.where(grams >> 31, 1.0, -1.0)
        np.add.at(placed, (rows, grams % self.dim), signs * (1 + np.log(counts)))
        lengths = np.linalg.norm(placed, axis=1, keepdims=True)
        return np.asarray(placed / np.where(lengths, lengths, 1), np.float32)


class SentenceVectors:
    """Asks a sentence-transformers model, which knows meaning. Built in chapter 5.

    Args:
        model: Its name or folder; a name is downloaded once by that library.

    Raises:
        UserError: If sentence-transformers is not installed.
    """

    def __init__(self, model: str = "all-MiniLM-L6-v2") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            mend = 'run `pip install "minirec[sentences]"`, or take n-grams'
            raise UserError(f"text vectors by {model} need sentence-transformers; {mend}") from None
        self.name, self._model = model, SentenceTransformer(model)

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """Return one float32 row of length 1 a text, (n, d)."""
        rows = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, np.float32)


def _hashes(word: str) -> IntArray:
    """Return the CRC-32 of every n-gram of a word between blanks."""
    text = f" {word} "
    grams = (text[i : i + n] for n in LENGTHS for i in range(len(text) - n + 1))
    return np.array([zlib.crc32(gram.encode()) for gram in grams], np.int64)
