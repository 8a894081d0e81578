"""Record the bundled transcript: the simulated chat model plays the small world in every role.

    .venv/bin/python tools/record_transcript.py

Chapters 5 to 7 replay it, so that they need neither a server nor this model. It is deterministic.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from minirec import Grounder, Histories, SimulatedChat, TruthSource, small_world
from minirec._io import atomic
from minirec.config import DemosConfig
from minirec.demos.actor import demonstrate
from minirec.demos.chat import ChatModel
from minirec.demos.memory import Memories
from minirec.demos.roles import RUNGS
from minirec.demos.simulated import SimulatedDials
from minirec.demos.transcript import BUNDLED, Transcript
from minirec.demos.vectors import NgramVectors
from minirec.world.rules import RULES
from minirec.world.trajectory import Trajectory

USERS = range(0, 2000, 80)
"""Whom every rung recommends to: 25 of the small world's users."""
RULES_OF_PLAY = replace(RULES["no_repeat"], max_turns=12)
WAYS = {**RUNGS, "json": replace(RUNGS["think"], json=True)}


def play(chat: ChatModel, way: str) -> Iterator[Trajectory]:
    """Let a chat model recommend to the users in one of the ways."""
    world = small_world()
    yield from demonstrate(
        TruthSource(world), RULES_OF_PLAY, Histories.from_log(world.log), USERS, chat,
        Grounder(world.catalogue.titles), roles=WAYS[way], memories=Memories.of(NgramVectors()),
    )  # fmt: skip


def simulated() -> SimulatedChat:
    """Return the simulated chat model with the default dials of a run."""
    world, demos = small_world(), DemosConfig()
    dials = SimulatedDials(
        knowledge_noise=demos.knowledge_noise, hallucination=demos.hallucination,
        popularity_bias=demos.popularity_bias, format_error=demos.format_error,
    )  # fmt: skip
    items = world.catalogue
    return SimulatedChat(items.titles, items.genres, world.item_factors, world.quality, dials)


def main() -> int:
    """Record every way into one file."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transcript.jsonl"
        transcript = Transcript(path, simulated(), "record")
        for way in WAYS:
            print(way, sum(map(len, play(transcript, way))), "recommendations")
        with atomic(target) as temporary:
            temporary.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    print(f"{target}: {transcript.calls} calls, {target.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
