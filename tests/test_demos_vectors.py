"""Text vectors: of length 1, the same everywhere, near for near texts."""

from __future__ import annotations

import math
import subprocess
import sys
import time
import zlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from minirec._io import UserError
from minirec.data.smallworld import small_world
from minirec.demos.grounding import normalise
from minirec.demos.vectors import NgramVectors, SentenceVectors

TEXTS = ["The Ashen Crypt", "ASHEN CRYPT!", "Crypt, Ashen", "千と千尋", "a", "na na na", "", "!?"]


def by_hand(text: str, dim: int) -> list[float]:
    """Count one text's n-grams in the plainest way."""
    counts = Counter[int]()
    for word in normalise(text).split():
        padded = f" {word} "
        for n in (3, 4, 5):
            for start in range(len(padded) - n + 1):
                counts[zlib.crc32(padded[start : start + n].encode())] += 1
    row = [0.0] * dim
    for gram, count in counts.items():
        row[gram % dim] += (1 + math.log(count)) * (1 if gram >= 2**31 else -1)
    length = math.sqrt(sum(value**2 for value in row)) or 1
    return [value / length for value in row]


@pytest.mark.parametrize("dim", [7, 512])
def test_ngrams_equal_those_counted_by_hand(dim: int) -> None:
    vectors = NgramVectors(dim)
    found = vectors.vectors(TEXTS)
    assert found.shape == (len(TEXTS), dim) and found.dtype == np.float32
    np.testing.assert_allclose(found, [by_hand(text, dim) for text in TEXTS], atol=1e-6)
    assert np.array_equal(found, np.concatenate([vectors.vectors([text]) for text in TEXTS]))
    assert NgramVectors(dim).vectors([]).shape == (0, dim)


def test_rows_have_length_one_and_no_word_is_alike_to_nothing() -> None:
    found = NgramVectors().vectors(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1] * 6 + [0, 1], atol=1e-6)
    np.testing.assert_allclose(found[0] @ found[:3].T, 1, atol=1e-6)


def test_another_process_places_the_same() -> None:
    code = "from minirec.demos.vectors import NgramVectors as V; print(V(8).vectors(['Kite'])[0])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == str(
        NgramVectors(8).vectors(["Kite"])[0]
    )


def test_a_large_catalogue_takes_seconds() -> None:
    titles = [f"{title} {n}" for n in range(24) for title in small_world().catalogue.titles]
    start = time.perf_counter()
    assert len(NgramVectors().vectors(titles)) == 14_400
    assert time.perf_counter() - start < 3


def test_a_sentence_model_is_asked_for_rows_of_length_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class SentenceTransformer:
        def __init__(self, model: str) -> None:
            asked.append(model)

        def encode(self, texts: list[str], **options: bool) -> list[list[float]]:
            asked.extend([*texts, options])
            return [[0.6, 0.8]] * len(texts)

    stand_in = SimpleNamespace(SentenceTransformer=SentenceTransformer)
    monkeypatch.setitem(sys.modules, "sentence_transformers", stand_in)
    vectors = SentenceVectors("tiny")
    found = vectors.vectors(("Kite", "Rune"))
    assert found.tolist() == np.float32([[0.6, 0.8]] * 2).tolist() and found.dtype == np.float32
    options = {"normalize_embeddings": True, "show_progress_bar": False}
    assert (vectors.name, asked) == ("tiny", ["tiny", "Kite", "Rune", options])


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r'L6-v2 need .* `pip install "minirec\[sentences\]"'):
        SentenceVectors()
