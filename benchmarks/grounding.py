"""How do written titles find their items, in BiLLP's recorded runs and with our grounder?

    python benchmarks/grounding.py     # needs MINIREC_DATA; half a minute

GPT-3.5 wrote the titles of BiLLP's recorded runs (Shi et al., SIGIR 2024) from memory, and BiLLP
took for each the catalogue's nearest by LLaMA's text vectors. Here our grounder reads the same
titles. The result is ``book/_results/grounding.json``; it holds counts and shares only.

Read from ``MINIREC_DATA/llm-demos``: ``*/trajs_agent`` and ``*/env``.

**Recorded.** For each part of the data: how many of the log's actions and thoughts were read; how
BiLLP and how we ground the titles; how often both take the same item; and where not, how often the
item has no word in common with the title. A *repeat* is an item that is one of the last four: the
rules of BiLLP end an episode at it. Of the quits at a repeat we count those at an *invented* title,
one that is not in the catalogue, and those at a *new* one, which is not among the last four titles
written: at most these are owed to grounding alone. Then our grounder takes BiLLP's place: each
title, with the recorded items before it (``repeats``) or with our own (``own repeats``), without
and with a list that blocks them. What the model would have written after another item nobody knows,
so the titles stay as they are; and since the log ends at the first recorded repeat, ``repeats``
flatters us, and ``own repeats`` is the fairer count.

**Spoilt.** Nobody knows the true item of an invented title. So we spoil titles of the catalogue in
known ways and count how often each rung finds its way back, by the similarity of spelling from
which fuzzy matches are trusted. That is where the default of ``fuzzy_from`` comes from.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from main_results import ROOT, commit
from rapidfuzz import fuzz

from minirec._io import UserError, generator, write_json
from minirec.demos.billp import read_billp
from minirec.demos.grounding import Grounder, Grounding, normalise
from minirec.demos.replies import ReplyError, parse_action, parse_field
from minirec.demos.vectors import NgramVectors
from minirec.runs import versions
from minirec.world.trajectory import Trajectory

DOMAINS, SPLITS, WINDOW, TITLES = ("steam", "amazon"), ("train", "test"), 4, 400
SWEEP = (0, 60, 65, 70, 75, 80, 85, 90, 95, 101)  # 0: by spelling only; 101: by vectors only
SHARES = {  # words: what is counted, of what
    "actions read": ("actions read", "actions"),
    "thoughts read": ("thoughts read", "thoughts"),
    "titles in the catalogue": ("literal", "steps"),
    **{f"ours {how}": (f"ours {how}", "steps") for how in ("exact", "normalised", "fuzzy",
                                                           "vector")},
    "agreement": ("agree", "steps"),
    "agreement on invented titles": ("agree invented", "invented"),
    **{f"agreement, ours {how}": (f"agree {how}", f"ours {how}") for how in ("normalised", "fuzzy",
                                                                             "vector")},
    "recorded has no word in common": ("no word recorded", "differ"),
    "ours has no word in common": ("no word ours", "differ"),
    "quits at a repeat": ("repeat quits", "quits"),
    "of these, at an invented title": ("repeat quits, invented title", "repeat quits"),
    "of these, at a new title": ("repeat quits, new title", "repeat quits"),
    "repeat quits gone without a list": ("repeat quits gone", "repeat quits"),
    "steps that repeat, recorded": ("recorded repeats", "steps"),
    "steps that repeat, ours": ("repeats", "steps"),
    "steps that repeat, ours throughout": ("own repeats", "steps"),
    "steps that repeat, ours, blocked": ("own repeats, blocked", "steps"),
}  # fmt: skip
EDITIONS = (" Deluxe Edition", ": Special Edition", " (Remastered)", " Collection")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Finder:
    """Grounds each distinct title once."""

    def __init__(self, titles: list[str]) -> None:
        self.grounder = Grounder(titles, NgramVectors())
        self._found = dict[str, Grounding]()

    def __call__(self, title: str, window: list[int] | None = None) -> Grounding:
        """Ground a title; only if its item is in the ``window`` does a block list matter."""
        if title not in self._found:
            self._found[title] = self.grounder.ground(title)
        found = self._found[title]
        return self.grounder.ground(title, window) if found.item in (window or ()) else found


def counts(played: list[Trajectory], find: Finder) -> Counter[str]:
    """Count what happened in recorded episodes and what our grounder does with their titles."""
    count = Counter[str]()
    titles = find.grounder.titles
    for trajectory in played:
        acts, own, own_blocked = trajectory.acts.tolist(), list[int](), list[int]()
        written = [info["title"] for info in trajectory.infos]
        forms = list(map(normalise, written))
        count["quits"] += trajectory.terminal
        for turn, (item, title) in enumerate(zip(acts, written, strict=True)):
            start = max(0, turn - WINDOW)
            window, literal = acts[start:turn], trajectory.infos[turn]["literal"]
            ours, words = find(title), set(forms[turn].split())
            new = forms[turn] not in forms[start:turn]
            count.update(["steps", "literal" if literal else "invented", f"ours {ours.how}"])
            count.update(read(trajectory.infos[turn]["reply"]))
            if ours.item == item:
                count.update(["agree", f"agree {ours.how}"] + ["agree invented"] * (not literal))
            else:
                no_word = {who: not words & set(normalise(titles[taken]).split())
                           for who, taken in (("recorded", item), ("ours", ours.item))}  # fmt: skip
                count.update(["differ", *(f"no word {who}" for who in no_word if no_word[who])])
            if item in window and trajectory.terminal and turn == len(acts) - 1:
                count["repeat quits"] += 1
                count["repeat quits, new title"] += new
                count["repeat quits, invented title"] += not literal
                count["repeat quits gone"] += ours.item not in window
            count["recorded repeats"] += item in window
            count["repeats"] += ours.item in window
            count["own repeats"] += ours.item in own[start:turn]
            count["own repeats, new title"] += new and ours.item in own[start:turn]
            count["titles written again"] += not new
            own.append(ours.item)
            moved = find(title, window)
            count["repeats, blocked"] += moved.item in window
            if moved.item != ours.item:
                count.update(["moved", f"moved {moved.how}", *["moved from literal"] * literal])
                for when, taken in (("before", ours.item), ("after", moved.item)):
                    count[f"similarity {when}"] += round(spelling(title, titles[taken]))
            own_blocked.append(find(title, own_blocked[start:turn]).item)
            count["own repeats, blocked"] += own_blocked[-1] in own_blocked[start:turn]
    return count


def read(reply: str) -> Iterator[str]:
    """Yield what our own parser finds in a reply as it was recorded."""
    with suppress(ReplyError):
        parse_action(reply)
        yield "actions read"
    with suppress(ReplyError):
        parse_field(reply, "thought")
        yield "thoughts read"


def spelling(one: str, two: str) -> float:
    """Return how similar two titles are spelt, 0 to 100."""
    return fuzz.ratio(normalise(one), normalise(two))


def raw(paths: list[Path]) -> Counter[str]:
    """Count the actions and thoughts of logs by their first words, apart from our importer."""
    found = Counter[str]()
    for path in paths:
        for run in json.loads(gzip.decompress(path.read_bytes())).values():
            for word in ("Action", "Thought"):
                found[f"{word.lower()}s"] += len(re.findall(rf"^{word} \d+:", run["traj"], re.M))
            found["actions that recommend nothing"] += run["traj"].count(": Invalid Action")
    return found


def typo(title: str, rng: np.random.Generator) -> str:
    """Mistype two letters."""
    letters = list(title)
    for place in rng.choice(len(letters), min(2, len(letters)), replace=False):
        letters[place] = LETTERS[rng.integers(len(LETTERS))]
    return "".join(letters)


def other_part(title: str, rng: np.random.Generator) -> str:
    """Give another number, or one if there is none."""
    number = str(rng.integers(2, 10))
    changed = re.sub(r"\d+", number, title, count=1)
    return changed if re.search(r"\d", title) else f"{title} {number}"


def without_word(title: str, rng: np.random.Generator) -> str:
    """Leave out one word of three or more."""
    words = title.split()
    if len(words) > 2:
        del words[rng.integers(len(words))]
    return " ".join(words)


def reordered(title: str, rng: np.random.Generator) -> str:
    """Put the last word first."""
    *words, last = title.split()
    return " ".join([last, *words])


SPOIL: dict[str, Callable[[str, np.random.Generator], str]] = {
    "two letters mistyped": typo,
    "subtitle left out": lambda title, rng: re.split(r":\s|\s[-\u2013]\s", title)[0],
    "one word left out": without_word,
    "edition added": lambda title, rng: title + EDITIONS[rng.integers(len(EDITIONS))],
    "other part": other_part,
    "last word first": reordered,
}


def spoilt(titles: list[str], size: int) -> Iterator[tuple[str, str, str]]:
    """Yield way, title and spoilt title where the text is no title any more."""
    rng = generator(0, "spoilt titles")
    forms = set(map(normalise, titles))
    for index in rng.permutation(len(titles))[:size]:
        for way, spoil in SPOIL.items():
            text = spoil(titles[index], rng)
            if normalise(text) not in forms and normalise(text):
                yield way, titles[index], text


def sweep(titles: list[str], size: int) -> dict[str, Any]:
    """Count by way and threshold how many spoilt titles are brought back to their item."""
    found = dict[str, Any]()
    plain, near = Grounder(titles), Grounder(titles, NgramVectors(), fuzzy_from=101)
    for way, title, text in spoilt(titles, size):
        fuzzy, vector = plain.ground(text), near.ground(text)
        for row in (found.setdefault(name, Counter()) for name in (way, "all")):
            row["titles"] += 1
            for least in SWEEP:
                taken = fuzzy if fuzzy.score >= least else vector
                row[str(least)] += titles[taken.item] == title
    return {way: dict(row) for way, row in found.items()}


def total(*counted: Counter[str]) -> Counter[str]:
    """Add counts and keep those of 0, which ``+`` does not."""
    added = Counter[str]()
    for count in counted:
        added.update(count)
    return added


def told(count: Counter[str]) -> dict[str, Any]:
    """Return counts with their shares and the mean similarity of titles that moved."""
    shares = {words: count[one] / count[of] for words, (one, of) in SHARES.items() if count[of]}
    similarity = {when: count[f"similarity {when}"] / count["moved"]
                  for when in ("before", "after") if count["moved"]}  # fmt: skip
    kept = {name: n for name, n in sorted(count.items()) if not name.startswith("similarity")}
    return {"counts": kept, "shares": shares, "similarity of the moved": similarity}


def main() -> int:
    """Count, spoil, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "book/_results", help="a folder")
    where = parser.parse_args().out
    if not os.environ.get("MINIREC_DATA"):
        raise UserError("MINIREC_DATA is not set; point it at the folder that holds the data")
    root = Path(os.environ["MINIREC_DATA"]) / "llm-demos"
    parts, distinct, spoils = dict[str, Counter[str]](), dict[str, Any](), dict[str, Any]()
    paths = sorted(root.glob("*/env/*.json.gz"))
    for domain in DOMAINS:
        files = sorted((root / domain / "trajs_agent").glob("*.json.gz"))
        if not files:
            raise UserError(f"no such files: {root / domain}/trajs_agent/*.json.gz")
        paths += files
        catalogue, everything = read_billp(files[0].parent)
        titles = list(catalogue.titles)
        find = Finder(titles)
        for split in SPLITS:
            own = [path for path in files if f"_{split}_" in path.name]
            played = [t for path in own for t in read_billp(path)[1]]
            count = total(counts(played, find), raw(own))
            invalid = sum(t.reason == "invalid" for t in played)
            count["actions read"] += invalid
            count["thoughts read"] += invalid
            parts[f"{domain} {split}"] = count
        infos = [info for t in everything for info in t.infos]
        distinct[domain] = {
            "titles": len({info["title"] for info in infos}),
            "items recorded": len({act for t in everything for act in t.acts.tolist()}),
            "items ours": len({find(info["title"]).item for info in infos}),
        }
        spoils[domain] = sweep(titles, TITLES)
        parts[domain] = total(*(parts[f"{domain} {split}"] for split in SPLITS))
    parts["all"] = total(*(parts[domain] for domain in DOMAINS))
    hashes = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
              for path in paths}  # fmt: skip
    grounder = find.grounder
    settings = {"vectors": NgramVectors().name, "fuzzy_from": grounder.fuzzy_from, "window": WINDOW}
    results = {"command": "python benchmarks/grounding.py", "commit": commit()}
    results |= {"versions": versions(), "sha256": hashes, "settings": settings}
    results |= {"parts": {name: told(count) for name, count in parts.items()}}
    write_json(where / "grounding.json", results | {"distinct": distinct, "spoilt": spoils})
    shares = {name: told(count)["shares"] for name, count in parts.items()}
    print((100 * pd.DataFrame(shares)).round(1).to_string())
    for domain, rows in spoils.items():
        print(f"\n{domain}, spoilt titles found [%] by fuzzy_from")
        table = pd.DataFrame(rows).T
        found = (100 * table.div(table.titles, axis=0)).assign(titles=table.titles)
        print(found.round(1).to_string())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"grounding: {error}")
