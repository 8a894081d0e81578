"""Put the tables of book/_results into the pages that show them.

    python tools/stored_results.py

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``. NAME is a stored
result's, or ``head-starts`` for what all experiments on the small worlds say of the head start.
Results of another kind have tables of their own, in ``OWN``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from minirec.evidence.metrics import steps_to_reach
from minirec.evidence.statistics import Interval, paired_interval, t_interval
from minirec.evidence.tables import OURS, PLAIN, per_seed, results_table

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    *(ROOT / f"book/{page}.md"
      for page in ("results", "worlds", "demonstrators", "live-model", "costs",
                    "real-logs")),
)
BLOCK = re.compile(r"<!-- table ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
EXPERIMENTS = {
    "small-world": "as it is",
    "second-world": "another world, in whose sight nothing was set",
    "stronger-demonstrator": "a demonstrator that knows the items well",
    "without-irl": "no reward is inferred or paid, all weights equal",
    "more-fits-in-practice": "learners fit their reward heads four times as often in practice",
    "more-fits": "and four times as often in the warm start, too",
}
NAMES = {
    "steam": "games", "amazon": "books", "steam-playtime": "games", "amazon-books": "books",
    "movielens-latest-small": "films",
}  # fmt: skip
ORDER = (
    "uniform random", "popularity", "best fixed list", "greedy on the world model",
    "greedy, re-fitted each turn", "constant reward", "A2C without demonstrations", "paper",
    "official", "demonstrator", "behaviour cloning", "minirec, shuffled demonstrations",
    "minirec without demonstrations", "minirec", "feasible oracle",
)  # fmt: skip
"""The rows on real logs."""
FACTORS = "biased matrix factorisation"
COUNTS = {
    "sessions": "sessions",
    "steps": "steps",
    "agreeing": "agree",
    "exact repeat": "of these, quits at a repeat",
    "low reward": "at a low reward",
    "explained": "near item",
    "undecided": "undecided",
    "disagreeing": "disagree",
}


def stored(name: str) -> dict[str, Any]:
    """Read one stored result."""
    results: dict[str, Any] = json.loads((ROOT / f"book/_results/{name}.json").read_text("utf-8"))
    return results


def head_starts() -> str:
    """Return one row an experiment: how far the learners are after as many steps, and when."""
    headings = (
        "experiment", "demonstrated [steps]", f"{OURS} then [%]", "A2C then [%]",
        f"half: {OURS} [steps]", "half: A2C [steps]", "ratio", "at the end [points]",
    )  # fmt: skip
    rows = []
    for name, words in EXPERIMENTS.items():
        results = stored(name)
        curves = {(curve["name"], curve["seed"]): curve for curve in results["curves"]}
        seeds = results["seeds"]
        first = [curves[OURS, seed]["steps"][0] for seed in seeds]
        row = [words, f"{np.mean(first):,.0f}"]
        for method in (OURS, PLAIN):
            then = [
                100 * np.interp(steps, curve["steps"], curve["share_oracle"])
                for steps, curve in zip(
                    first, (curves[method, seed] for seed in seeds), strict=True
                )
            ]
            row.append(cell(t_interval(then), ".0f"))
        half = [
            [steps_to_reach(curve["steps"], curve["share_oracle"], 0.5) or np.nan for curve in some]
            for some in ([curves[method, seed] for seed in seeds] for method in (OURS, PLAIN))
        ]
        row += [f"{np.mean(steps):,.0f}" for steps in half]
        row.append(cell(t_interval(ours / plain for ours, plain in zip(*half, strict=True)), ".2f"))
        ours, plain = (per_seed(results, method, "r_traj").values() for method in (OURS, PLAIN))
        row.append(cell(t_interval(x - y for x, y in zip(ours, plain, strict=True)), "+.1f"))
        rows.append(tuple(row))
    return markdown(headings, rows)


def recorded_sessions() -> str:
    """Return one row for each kind of recorded run, and how wrong rules fare."""
    results = stored("recorded-sessions")
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in results["runs"]:
        oldest = ", oldest run" if (run["split"], run["matrix"]) == ("train", "int") else ""
        name = f"{NAMES[run['domain']]}, {run['split']}{oldest}"
        for group in (name, "**all**"):
            groups.setdefault(group, []).append(run["verdicts"] | run)
    groups["**all**"] = groups.pop("**all**")  # as the last row
    rows = [
        (name, *(f"{sum(run.get(key, 0) for run in runs):,}" for key in COUNTS))
        for name, runs in groups.items()
    ]
    table = markdown(("runs", *COUNTS.values()), rows)
    wrong = [(name, f"{total['disagreeing']:,}") for name, total in results["total"].items()]
    return table + "\n" + markdown(("rules", "steps that disagree"), wrong)


def speeds() -> str:
    """Return one row for each environment, rules and number of users; a column a catalogue."""
    results = stored("environment")
    sizes = sorted({row["items"] for row in results["rows"]})
    found: dict[tuple[str, ...], dict[int, str]] = {}
    for row in results["rows"]:
        key = f"`{row['rules']}`", f"{row['users']:,}", row["environment"], row["reward"]
        text = "not installed"
        if row["rate"] is not None:
            text = f"{row['rate'] / 1e3:,.0f} ({row['of_plain']:.2g})"
        found.setdefault(key, {})[row["items"]] = text
    headings = "rules", "users", "environment", "reward", *(f"{size:,} items" for size in sizes)
    rows = [(*key, *(cells.get(size, "-") for size in sizes)) for key, cells in found.items()]
    timed = [row for row in results["rows"] if row["rate"] is not None]
    apart = 100 * median((row["highest"] - row["lowest"]) / row["rate"] for row in timed)
    steam, versions = results["memory"], results["versions"]
    notes = (
        f"Thousands of live-user steps a second, the median of {results['settings']['repeats']} "
        "repeats; in brackets as a share of the plain loop's with the same rules, users and items. "
        f"In half of the cells the repeats lie at most {apart:.0f} % apart.",
        f"{steam['users']:,} users, {steam['items']:,} items, rewards by a DeepFM, 4,096 users at "
        f"once: {steam['peak']:.2f} GB of memory at most, of which the libraries take "
        f"{steam['libraries']:.2f} GB before there is any user; {steam['rate'] / 1e3:,.0f} "
        "thousand steps a second.",
        f"{results['processors']} processors, {results['threads']} threads of torch; NumPy "
        f"{versions['numpy']}, torch {versions['torch']}, Gymnasium {versions['gymnasium']}, "
        f"Stable-Baselines3 {versions['stable_baselines3']}.",
    )
    return markdown(headings, rows, words=4) + "\n" + "".join(f"- {note}\n" for note in notes)


def training_speed() -> str:
    """Return one row for each learner; a column for each number of users who play at once."""
    results = stored("policy")
    sizes = sorted({row["users"] for row in results["timings"]})
    found: dict[tuple[str, str], dict[int, str]] = {}
    for row in results["timings"]:
        text = f"{row['rate'] / 1e3:,.1f} ({median(row['times_as_long']):.2g})"
        what = "A2C, 32 steps" if (row["what"], row["who"]) == ("PPO", "ours") else row["what"]
        found.setdefault((what, row["who"]), {})[row["users"]] = text
    headings = "learner", "whose", *(f"{size} users" for size in sizes)
    rows = [(*key, *(cells[size] for size in sizes)) for key, cells in found.items()]
    peer, versions, same = results["peer"], results["versions"], results["agreement"]
    notes = (
        "Thousands of steps a second of processor time, one thread, median of 5 repeats. In "
        "brackets: how many times as long as ours on as many steps (the environment alone: as "
        "`BatchedRecEnv`), the median of the ratios in each repeat.",
        "On equal steps the loss of A2C differs from the library's by at most "
        f"{same['loss, rating points']:.0e} of its size, the gradient by "
        f"{same['gradient, rating points']:.0e}.",
        f"Stable-Baselines3 {peer['stable_baselines3']}, torch {versions['torch']}.",
    )
    return markdown(headings, rows, words=2) + "\n" + "".join(f"- {note}\n" for note in notes)


def halves() -> str:
    """Return one row for each learner: what it takes to earn half of the feasible oracle."""
    results = stored("half")
    rows = []
    for name in dict.fromkeys(row["name"] for row in results["rows"]):
        seeds = [row for row in results["rows"] if row["name"] == name]
        seconds = cell(t_interval(row["seconds"] for row in seeds), ".1f")
        steps = cell(t_interval(row["steps"] for row in seeds), ",.0f")
        steps = steps if all(row["reached"] for row in seeds) else f"not in {seeds[0]['steps']:,}"
        best = cell(t_interval(100 * row["best"] for row in seeds), ".0f")
        name = f"Stable-Baselines3's {name}" if name in ("A2C", "PPO") else name
        rows.append((name, steps, seconds, best, f"{max(row['peak'] for row in seeds):,.0f}"))
    headings = "learner", "steps", "seconds", "share then, or best [%]", "peak memory [MB]"
    world = t_interval(one["seconds"] for one in results["worlds"])
    before = np.mean([row["before"] for row in results["rows"]])
    note = f"Before that, for all of them: a world model, {cell(world, '.0f')} seconds, and "
    note += f"{before:,.0f} MB, most of it torch and NumPy."
    return markdown(headings, rows) + f"\n- {note}\n"


def serving() -> str:
    """Return one row for each catalogue and way to serve."""
    rows = []
    for row in stored("serving")["rows"]:
        size = sum(row["bytes"].values()) / 1e6
        equal, users = (f"{row['difference'][key]:,}" for key in ("equal lists", "users"))
        for way in ("numpy", "torch"):
            call, batch = row["call"][way], row["batch"][way]
            rows.append((
                f"{row['items']:,}", way, f"{call['median']:.2f}", f"{call['p99']:.2f}",
                f"{batch['rate']:,.0f}",
                *((f"{size:.2f}", f"{equal} of {users}") if way == "numpy" else ("-", "-")),
            ))  # fmt: skip
    headings = (
        "items", "forward pass", "one call, median [ms]", "99th percentile [ms]",
        "users a second, 256 at once", "files [MB]", "same lists as torch's",
    )  # fmt: skip
    return markdown(headings, rows, words=2)


def world_models() -> str:
    """Return one row for each model: its error on every domain; then calibration, then Coat."""
    results = stored("world-models")
    domains = results["domains"]
    headings = ["model", *(NAMES.get(one["name"], one["name"]) for one in domains)]
    counts = [
        [what, *(f"{one[what]:,}" for one in domains)] for what in ("users", "items", "rows")
    ]
    text = markdown(["log, filtered", *headings[1:]], counts)
    for what, form in (("errors", ".3f"), ("calibration", ".3f")):
        rows = [
            [model, *(cell(t_interval(one[what][model]), form) for one in domains)]
            for model in domains[0][what]
        ]
        apart = [
            t_interval(np.subtract(one[what]["world model"], one[what][FACTORS])) for one in domains
        ]
        rows.append([f"world model less {FACTORS}", *(cell(one, f"+{form}") for one in apart)])
        text += "\n" + markdown([f"{what} [points]", *headings[1:]], rows)
    coat, samples = results["coat"], ("self-selected", "random")
    heads = [f"{what}, {sample}" for what in ("error", "bias") for sample in samples]
    rows = []
    for model, errors in coat["errors"].items():
        bias = coat["bias"][model]
        found = [cell(t_interval(errors[sample]), ".3f") for sample in samples]
        rows.append([model, *found, *(cell(t_interval(bias[s]), "+.2f") for s in samples)])
    return text + "\n" + markdown(["Coat [points]", *heads], rows)


BOUNDS = "informed bound", "feasible oracle", "upper bound"


def controls() -> str:
    """Return one table for each preset: shares of the upper bound, a row a method."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in stored("controls")["rows"]:
        found.setdefault(row["preset"], {})[row["domain"]] = row["methods"]
    tables = []
    for preset, domains in found.items():
        methods = next(iter(domains.values()))  # the small world has all of them
        learned = [name for name in methods if name not in BOUNDS]
        best = {
            domain: max(learned, key=lambda name: np.mean(of[name]["share_upper"]))
            for domain, of in domains.items()
        }
        rows = []
        for name in [*learned, *BOUNDS[:2]]:
            cells = []
            for domain, of in domains.items():
                share = 100 * np.array(of[name]["share_upper"]) if name in of else None
                text = "-" if share is None else cell(t_interval(share), ".0f")
                cells.append(f"**{text}**" if best[domain] == name else text)
            rows.append([name, *cells])
        named = (NAMES.get(domain, domain) for domain in domains)
        tables.append(markdown([f"`{preset}` [% of the upper bound]", *named], rows))
    return "\n".join(tables)


def all_controls() -> str:
    """Return one table for each preset: a row for each domain and method."""
    columns = {"len": (1, ".1f"), "r_each": (1, ".2f"), "r_traj": (1, ".1f")}
    columns |= {"share_oracle": (100, ".1f"), "share_upper": (100, ".1f")}
    headings = (
        "domain", "method", "Len [items]", "R_each [points]", "R_traj [points]", "of oracle [%]",
        "of upper bound [%]",
    )  # fmt: skip
    tables: dict[str, list[list[str]]] = {}
    for row in stored("controls")["rows"]:
        for name, found in row["methods"].items():
            cells = [
                cell(t_interval(scale * np.array(found[key])), form) if key in found else "-"
                for key, (scale, form) in columns.items()
            ]
            domain = NAMES.get(row["domain"], row["domain"])
            tables.setdefault(row["preset"], []).append([domain, name, *cells])
    parts = ((preset, markdown(headings, rows, words=2)) for preset, rows in tables.items())
    return "\n".join(f"Rules `{preset}`:\n\n{table}" for preset, table in parts)


def real_arms() -> str:
    """Return a table for each preset: share of the oracle and distinct titles, a row a method."""
    tables = []
    for rules, worlds in by_rules().items():
        headings = [f"`{rules}`"]
        for world in worlds:
            domain = NAMES[world["domain"]]
            headings += [f"{domain}: of oracle [%]", "distinct titles"]
        found = [methods_of(world) for world in worlds]
        best = [max((name for name in of if name not in BOUNDS), key=lambda name, of=of: np.mean(
            [row["share_oracle"] for row in of[name]])) for of in found]  # fmt: skip
        rows = []
        for name in ORDER:
            cells = []
            for of, first in zip(found, best, strict=True):
                share = [100 * row["share_oracle"] for row in of.get(name, [])]
                text = cell(t_interval(share), ".0f") if share else "-"
                titles = [row["distinct"] for row in of.get(name, []) if "distinct" in row]
                cells.append(f"**{text}**" if name == first else text)
                cells.append(f"{np.mean(titles):,.0f}" if titles else "-")
            if set(cells) != {"-"}:
                rows.append([shown_as(name), *cells])
        tables.append(markdown(headings, rows))
    return "\n".join(tables)


def all_real_arms() -> str:
    """Return a table for each preset and domain: all that is measured, a row a method."""
    columns = {"len": (1, ".1f"), "r_each": (1, ".2f"), "r_traj": (1, ".1f")}
    columns |= {"share_upper": (100, ".1f"), "repeats": (100, ".0f")}
    headings = (
        "method", "Len [items]", "R_each [points]", "R_traj [points]", "of upper bound [%]",
        "repeats [% of steps]", "ended by low reward [%]", "by nearness [%]",
        "by the last turn [%]",
    )  # fmt: skip
    tables = []
    for rules, worlds in by_rules().items():
        for world in worlds:
            rows = []
            for name, seeds in methods_of(world).items():
                cells = [
                    cell(t_interval(scale * row[key] for row in seeds), form)
                    if key in seeds[0] else "-" for key, (scale, form) in columns.items()
                ]  # fmt: skip
                ends = [row["ends"] for row in seeds if "ends" in row]
                why = [np.mean([100 * end.get(one, 0) for end in ends]) if ends else None
                       for one in ("low_reward", "distance", "max_turn")]  # fmt: skip
                cells += ["-" if share is None else f"{share:.0f}" for share in why]
                rows.append([shown_as(name), *cells])
            title = f"{NAMES[world['domain']].capitalize()}, rules `{rules}`:"
            tables.append(f"{title}\n\n{markdown(headings, rows)}")
    return "\n".join(tables)


def real_budgets() -> str:
    """Return shares of the oracle after each budget, a row a preset, domain and trained arm."""
    results = stored("real-arms")
    rows = []
    for world in results["worlds"]:
        for name, seeds in world["arms"].items():
            if len(seeds[0]) == len(results["goals"]):
                shares = [[100 * row["share_oracle"] for row in seed] for seed in seeds]
                cells = [cell(t_interval(at), ".0f") for at in zip(*shares, strict=True)]
                rows.append([f"`{world['rules']}`", NAMES[world["domain"]], name, *cells])
    headings = ["rules", "log", "arm, of oracle [%] after"]
    return markdown([*headings, *(f"{goal:,} steps" for goal in results["goals"])], rows, words=3)


def real_pairs() -> str:
    """Return differences of the last returns, seeds paired: a row a pair, a column a world."""
    worlds = [world for worlds in by_rules().values() for world in worlds]
    pairs = {
        "minirec less itself, shown nothing": "minirec without demonstrations",
        "minirec less itself, shuffled": "minirec, shuffled demonstrations",
        "minirec less A2C": "A2C without demonstrations",
        "minirec less greedy, re-fitted": "greedy, re-fitted each turn",
        "minirec less popularity": "popularity",
    }
    rows = [
        [words, *(apart(found["minirec"], found[other]) for found in map(methods_of, worlds))]
        for words, other in pairs.items()
    ]
    promised = [
        apart(found["minirec"], found[PLAIN], "certain_return") for found in map(methods_of, worlds)
    ]
    rows.append(["minirec less A2C, as the world model predicts", *promised])
    headings = [f"{NAMES[world['domain']]}, `{world['rules']}`" for world in worlds]
    return markdown(["R_traj [points], 95 % interval", *headings], rows)


def apart(ours: Any, theirs: Any, key: str = "r_traj") -> str:
    """Return by how much rows of one method are ahead of another's, with its 95 % interval."""
    span = paired_interval(*([row[key] for row in rows] for rows in (ours, theirs)))
    numbers = [round(x) + 0.0 for x in (span.estimate, span.low, span.high)]  # no -0
    return "{:+.0f} ({:+.0f} to {:+.0f})".format(*numbers)


def by_rules() -> dict[str, list[dict[str, Any]]]:
    """Return the worlds of the real arms by their rules."""
    found: dict[str, list[dict[str, Any]]] = {}
    for world in stored("real-arms")["worlds"]:
        found.setdefault(world["rules"], []).append(world)
    return found


def methods_of(world: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the last row of every method and seed of one world, in the order of the book."""
    found = {name: [seed[name] for seed in world["untrained"]] for name in world["untrained"][0]}
    found |= {name: [seed[-1] for seed in seeds] for name, seeds in world["arms"].items()}
    return {name: found[name] for name in ORDER if name in found}


def shown_as(name: str) -> str:
    """Return a method's name for readers."""
    return {"demonstrator": "demonstrator (simulated)", "official": "released code"}.get(name, name)


def published() -> str:
    """Return what was published of each domain: other simulators, not comparable."""
    rows = []
    for world in by_rules()["ilrec"]:
        for method, numbers in world["published"].items():
            domain = NAMES[world["domain"]]
            rows.append((domain, method, *(f"{number:g}" for number in numbers)))
    return markdown(("log", "method", "Len [items]", "R_each", "R_traj"), rows, words=2)


def taste() -> str:
    """Return how much taste world model and judges see, and how far unseen rows bear it out."""
    rows = []
    for world in stored("taste")["beliefs"]:
        seeds = world["found"]
        for name in ("world model", "judge", "judge that chooses"):
            spread, slope, error = (
                np.array([np.ravel(seed[name][what])[-1] for seed in seeds])  # taste comes last
                for what in ("spread", "slopes", "error")
            )
            chosen = sorted({f"{seed['penalty']:g}" for seed in seeds}, key=float)
            penalty = {"world model": "-", "judge": "10"}.get(name, " or ".join(chosen))
            rows.append((
                NAMES.get(world["domain"], world["domain"]), name, penalty,
                cell(t_interval(spread), ".2f"),
                cell(t_interval(slope), ".1f") if spread.mean() > 0.015 else "-",
                *(cell(t_interval(values), ".2f") for values in (slope * spread, error)),
            ))  # fmt: skip
    headings = (
        "log", "who", "penalty", "taste claimed [points]", "slope", "borne out [points]",
        "error [points]",
    )  # fmt: skip
    return markdown(headings, rows, words=3)


def two_judges() -> str:
    """Return what two judges pay for the same policies on books."""
    results = stored("taste")
    seeds = [one["found"] for one in results["arms"]]
    rows = []
    for name in (name for name in (*ORDER, "") if name in seeds[0]):
        last = [seed[name][-1] for seed in seeds]
        cells = []
        for who in (last, [row["judge that chooses"] for row in last]):
            for key, scale in (("r_traj", 1), ("share_oracle", 100)):
                cells.append(cell(t_interval(scale * row[key] for row in who), ".0f"))
        rows.append([name, *cells])
    headings = [f"{what}, {who}" for who in ("judge", "judge that chooses")
                for what in ("R_traj", "of oracle [%]")]  # fmt: skip
    return markdown(["method", *headings], rows)


def judge_pairs() -> str:
    """Return by how much popularity is ahead of others, before either judge."""
    seeds = [one["found"] for one in stored("taste")["arms"]]
    first = {name: [seed[name][-1] for seed in seeds] for name in seeds[0]}
    second = {name: [row["judge that chooses"] for row in rows] for name, rows in first.items()}
    others = (
        "greedy on the world model", "greedy, re-fitted each turn", PLAIN,
        "minirec without demonstrations", "minirec",
    )  # fmt: skip
    rows = [(f"less {name}", apart(first["popularity"], first[name]),
             apart(second["popularity"], second[name])) for name in others]  # fmt: skip
    return markdown(("popularity, R_traj [points]", "judge", "judge that chooses"), rows)


def pipeline_time() -> str:
    """Return the processor's minutes for the parts of the pipeline on real logs."""
    rows = []
    parts = {"world model, judge and demonstrations": "world model, judge, demonstrations read",
             "minirec": "minirec", "paper": "IL-Rec as in its paper",
             "official": "the released code"}  # fmt: skip
    for rules, worlds in by_rules().items():
        for world in worlds:
            took = world["seconds"]
            rows.append((
                f"`{rules}`", NAMES[world["domain"]],
                *(cell(t_interval(s / 60 for s in took[part]), ".1f") if part in took else "-"
                  for part in parts),
            ))  # fmt: skip
    return markdown(("rules", "log", *parts.values()), rows, words=2)


def log_sizes() -> str:
    """Return what the truth pays, and what others promise: a row a policy, a column a size."""
    results = stored("log-size")
    sizes = [f"{users:,} users" for users in results["sizes"]]
    arms = {
        name: {payer: np.array(values) for payer, values in arm.items()}
        for name, arm in results["arms"].items()
    }
    tables = []
    for heading, more, less in (
        ("paid by the truth", "truth", None), ("bare model less truth", "plain", "truth"),
        ("own simulator less truth", "own", "truth"), ("own less twin", "own", "twin"),
    ):  # fmt: skip
        rows = [
            [name, *(cell(t_interval(x), ".0f") for x in arm[more] - (arm[less] if less else 0))]
            for name, arm in arms.items()
        ]
        tables.append(markdown([f"{heading} [points]", *sizes], rows))
    plain, careful = (arms[name] for name in (PLAIN, "A2C, ensemble with penalty"))
    earned = careful["truth"] - plain["truth"]
    used = careful["own"] - careful["twin"] - (plain["own"] - plain["twin"])
    rows = [
        [what, *(cell(t_interval(seeds), "+.0f") for seeds in values)]
        for what, values in (("paid by the truth", earned), ("own less twin", used))
    ]
    tables.append(markdown(["what the penalty changes [points]", *sizes], rows))
    return "\n".join(tables)


def ppo() -> str:
    """Return one row for each preset: mean returns of PPO and of uniform random."""
    rows = []
    for row in stored("ppo")["rows"]:
        found = row["returns"]
        ahead = np.subtract(found["PPO, items as vectors"], found["uniform random"])
        cells = [cell(t_interval(seeds), ".1f") for seeds in found.values()]
        rows.append([f"`{row['preset']}`", *cells, cell(t_interval(ahead), "+.1f")])
    return markdown(["return [points]", *found, "vectors less random"], rows)


def grounding() -> str:
    """Return how recorded titles are grounded, by domain, and how well both groundings agree."""
    shown = {
        "actions read": "actions read",
        "thoughts read": "thoughts read",
        "titles, exact": "ours exact",
        "normalised": "ours normalised",
        "fuzzy": "ours fuzzy",
        "nearest vector": "ours vector",
        "same item as recorded": "agreement",
        "the same, of titles not in the catalogue": "agreement on invented titles",
        "where they differ, no word in common: recorded": "recorded has no word in common",
        "the same, ours": "ours has no word in common",
    }
    return recorded_parts("share [%]", shown, lambda part, key: f"{100 * part['shares'][key]:.1f}")


def recorded_repeats() -> str:
    """Return how often users quit at a repeat in the recorded sessions, and with our grounding."""
    shown = {
        "quits": "quits",
        "at a repeat of one of the last four, as recorded": "recorded repeats",
        "of these, at a title that is not in the catalogue": "repeat quits, invented title",
        "of these, at a title not written in the last four steps": "repeat quits, new title",
        "gone with our grounding, no block list": "repeat quits gone",
        "repeats in all steps, our grounding throughout": "own repeats",
        "the same with a block list": "own repeats, blocked",
    }
    return recorded_parts("count", shown, lambda part, key: f"{part['counts'].get(key, 0):,}")


def recorded_parts(
    heading: str, shown: dict[str, str], form: Callable[[dict[str, Any], str], str]
) -> str:
    """Return one row for each of ``shown`` (words: key), a column for games, books and both."""
    names, parts = NAMES | {"all": "both"}, stored("grounding")["parts"]
    names = {part: names[part] for part in ("steam", "amazon", "all")}
    rows = [[words, *(form(parts[p], key) for p in names)] for words, key in shown.items()]
    return markdown([heading, *names.values()], rows)


def demonstrators() -> str:
    """Return audits of recorded and of simulated demonstrators side by side."""
    audits = stored("demonstrators")["audits"]
    columns = {}
    for part, found in audits.items():
        kind, _, place = part.partition(" ")
        who = "GPT-3.5" if kind == "recorded" else "simulated"
        columns |= {f"{who}, {NAMES.get(place, place)}, {way}": a for way, a in found.items()}
    shown = {
        "Len [items]": lambda a: f"{a['mean_length']:.1f}",
        "not in the catalogue [%]": lambda a: f"{100 * a['invented_share']:.0f}",
        "top ten items [%]": lambda a: f"{100 * a['top10_share']:.0f}",
        "effective items": lambda a: f"{a['effective_items']:.0f}",
        "popularity [percentile]": lambda a: f"{100 * a['popularity']:.0f}",
        "repeats [%]": lambda a: (
            f"{100 * a['window_repeats'] / a['steps']:.1f}"
        ),
        "thoughts fit [%]": lambda a: f"{100 * a['coherence']:.0f}",
        "by chance [%]": lambda a: f"{100 * a['coherence_by_chance']:.0f}",
    }
    rows = [[words, *(show(a) for a in columns.values())] for words, show in shown.items()]
    headings, *turned = map(list, zip(*rows, strict=True))
    named = [[name, *row] for name, row in zip(columns, turned, strict=True)]
    return markdown(["demonstrator", *headings], named)


def ladder() -> str:
    """Return what each way of demonstrating earns, and how far it is ahead of acting alone."""
    rows = []
    for row in stored("ladder")["rows"]:
        per_seed = row["per_seed"]
        seeds = {key: np.array([seed[key] for seed in per_seed]) for key in per_seed[0]}
        if row["way"] == "act":
            alone = seeds["r_traj"]
        forms = {"length": ".1f", "r_each": ".2f", "r_traj": ".0f"}
        numbers = [cell(t_interval(seeds[key]), form) for key, form in forms.items()]
        ahead = "-" if row["way"] == "act" else cell(t_interval(seeds["r_traj"] - alone), "+.1f")
        spent = [f"{seeds[key].mean():,.0f}" for key in ("calls", "prompt_tokens", "reply_tokens")]
        rows.append([row["knowledge"], row["way"], *numbers, ahead, *spent])
    headings = ["the model", "who speaks", "Len [items]", "R_each", "R_traj [points]",
                "ahead of acting alone", "calls", "prompt tokens", "reply tokens"]  # fmt: skip
    return markdown(headings, rows, words=2)


def call_budget() -> str:
    """Return what an episode of ten recommendations costs, by who speaks."""
    rows = []
    for row in stored("ladder")["rows"]:
        if row["knowledge"] == "as set" and "but" not in row["way"]:
            seeds = row["per_seed"]
            steps = sum(seed["length"] for seed in seeds)
            spent = [10 * sum(seed[key] for seed in seeds) / steps
                     for key in ("calls", "prompt_tokens", "reply_tokens")]  # fmt: skip
            rows.append([row["way"], *(f"{number:,.0f}" for number in spent)])
    return markdown(["ten recommendations", "calls", "words and marks read", "written"], rows)


def kills() -> str:
    """Return what became of the demonstrations that were killed and resumed."""
    found, rows = stored("kill-and-resume")["found"], []
    for words, key in (
        ("episodes", "episodes"), ("recommendations", "recommendations"), ("calls", "calls"),
        ("of these, answered after a retry or not at all", "retried"), ("attempts", "attempts"),
        ("lines that are there twice", "doubles"),
    ):  # fmt: skip
        rows.append([words, *(f"{run[key]:,}" for run in found.values())])
    lost = (sum(run["failed_for_good"].values()) for run in found.values())
    rows.append(["failed for good", *(f"{number:,}" for number in lost)])
    runs = [run["starts"] for run in found.values()]
    rows.append(["kills", *(str(sum(one["killed"] for one in run)) for run in runs)])
    rows.append(["peak memory [MB]", *(f"{max(one['peak'] for one in run):.0f}" for run in runs)])
    rows.append(["time [s]", *(f"{sum(one['seconds'] for one in run):.0f}" for run in runs)])
    return markdown(["", *(f"{name}" for name in found)], rows)


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first columns hold words and whose others hold numbers."""
    rule = ["---" if column < words else "---:" for column in range(len(headings))]
    lines = [headings, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(interval: Interval, form: str) -> str:
    """Format a mean with half the width of its interval."""
    mean = f"{interval.estimate:{form}}"
    mean = mean if float(mean.replace(",", "")) else mean.lstrip("-")  # no minus before a nought
    return f"{mean} ± {interval.half:{form.lstrip('+')}}"


def filled(page: str) -> str:
    """Return a page's text with its tables as they should be."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        table = OWN[name]() if name in OWN else results_table(stored(name)).markdown()
        return f"<!-- table {name} -->\n\n{table}\n<!-- end -->"

    return BLOCK.sub(block, page)


OWN = {
    "head-starts": head_starts, "recorded-sessions": recorded_sessions, "environment": speeds,
    "world-models": world_models, "controls": controls, "all-controls": all_controls,
    "log-size": log_sizes, "ppo": ppo, "grounding": grounding,
    "recorded-repeats": recorded_repeats, "demonstrators": demonstrators, "ladder": ladder,
    "call-budget": call_budget, "kill-and-resume": kills, "training-speed": training_speed,
    "half-of-oracle": halves, "serving": serving, "real-arms": real_arms,
    "all-real-arms": all_real_arms, "real-budgets": real_budgets, "real-pairs": real_pairs,
    "published": published, "taste": taste, "two-judges": two_judges,
    "judge-pairs": judge_pairs, "pipeline-time": pipeline_time,
}  # fmt: skip


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text("utf-8")), encoding="utf-8", newline="\n")
