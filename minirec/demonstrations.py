"""From the settings to demonstrations: which chat model, which roles, and one file that grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minirec._io import IntArray, append_jsonl, progress, write_jsonl
from minirec.config import DemosConfig
from minirec.demos import actor
from minirec.demos.chat import ChatModel
from minirec.demos.grounding import Grounder
from minirec.demos.memory import Memories
from minirec.demos.roles import roles_named
from minirec.demos.simulated import SimulatedChat, SimulatedDials
from minirec.demos.transcript import BUNDLED, Transcript
from minirec.demos.vectors import NgramVectors, SentenceVectors, TextVectors
from minirec.problem import Setup
from minirec.world.batched import BatchedRecEnv
from minirec.world.deepfm import DeepFM, DeepFMSource
from minirec.world.trajectory import Trajectory, load_trajectories, save_trajectories


def live_chat(demos: DemosConfig) -> ChatModel | None:
    """Return the chat model that the settings name; None for the simulated one.

    Raises:
        UserError: If it cannot be asked; the message says how to mend it.
    """
    kind, _, name = demos.chat.partition(":")
    chat: ChatModel | None = None
    if kind == "ollama":
        from minirec.demos.ollama import OllamaChat

        chat = OllamaChat(name, hosts=_hosts(demos), timeout=demos.timeout)
    elif kind == "openai":
        from minirec.demos.openai import OpenAIChat

        chat = OpenAIChat(name, base_url=demos.hosts, timeout=demos.timeout)
    elif kind == "transcript":
        chat = Transcript(BUNDLED if name == "bundled" else name)
    if chat is not None:
        _ = chat.settings  # is there a server, and has it the model?
    return chat


def _hosts(demos: DemosConfig) -> list[str] | None:
    """Return the addresses that the settings name, if they do."""
    return [host.strip() for host in demos.hosts.split(",")] if demos.hosts else None


def simulated_chat(setup: Setup, model: DeepFM, **dials: float) -> SimulatedChat:
    """Return the simulated chat model with the dials of the settings, but for those given.

    It knows the items' truth in the small world, and on real data item vectors fitted on the
    training half, in both cases through noise; never a user's truth.
    """
    demos, catalogue, truth = setup.config.demos, setup.problem.catalogue, setup.problem.truth
    if truth is not None:
        vectors, quality = truth.item_factors, truth.quality
    else:
        fitted = DeepFMSource(model, setup.split.train).item_vectors()
        vectors, quality = fitted[:, :-1], fitted[:, -1]
    named = ("knowledge_noise", "hallucination", "popularity_bias", "format_error")
    set_to = {name: getattr(demos, name) for name in named} | dials
    known = catalogue.titles, catalogue.genres, vectors, quality
    return SimulatedChat(*known, SimulatedDials(**set_to), seed=setup.seed)


def text_vectors(demos: DemosConfig) -> TextVectors | None:
    """Return the text vectors that the settings name; None for none.

    Raises:
        UserError: If they cannot be had; the message says how to mend it.
    """
    kind, _, name = demos.vectors.partition(":")
    if kind == "ollama":
        from minirec.demos.ollama import OllamaVectors

        return OllamaVectors(name, _hosts(demos))
    if kind == "sentences":
        return SentenceVectors(name)
    return NgramVectors() if kind == "ngrams" else None


def ask_chat(
    setup: Setup, env: BatchedRecEnv, users: IntArray, chat: ChatModel, kept: Path
) -> list[Trajectory]:
    """Play one episode a user with the chat model, keeping each in ``kept`` as it is finished.

    Beside ``kept``, ``memory.jsonl`` gets what was remembered and forgotten, if anything was.
    """
    demos = setup.config.demos
    roles = replace(roles_named(demos.roles), json=demos.json)
    done = load_trajectories(kept) if kept.is_file() else []
    save_trajectories(kept, done)  # a line that was cut off is gone for good
    vectors = text_vectors(demos)
    memories = Memories.of(vectors or NgramVectors())
    grounder = Grounder(setup.problem.catalogue.titles, vectors)
    with progress(len(users), "demonstrations") as advance:
        advance(len(done))
        for trajectory in actor.demonstrate(
            env.source, env.rules, setup.start, users, chat, grounder, seed=setup.seed, K=env.K,
            history=env.history, done=done, roles=roles, memories=memories,
            calls=1 if "simulated" in chat.name else demos.calls,
        ):  # fmt: skip
            append_jsonl(kept, trajectory.to_json())
            done.append(trajectory)
            advance(1, chat.progress() if isinstance(chat, Transcript) else "")
    if roles.remember:
        rows = [("reflections", row) for row in memories.reflections.log]
        rows += [("experiences", row) for row in memories.experiences.log]
        write_jsonl(kept.with_name("memory.jsonl"), ({"memory": name, **row} for name, row in rows))
    return done
