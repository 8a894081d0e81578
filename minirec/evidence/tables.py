"""The results table of a run, the sentences under it, and the comparison of two runs.

Everything is computed from ``results.json`` (the dictionary that the pipeline writes): one entry
of ``methods`` per method with one row of numbers per seed. Intervals are Student's t over seeds.
Two optional keys change the words: ``data["judge"]`` (``rmse`` and ``rmse_mean`` in rating points;
absent where the truth pays) and ``simulated`` (true) on a method.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minirec._io import UserError
from minirec.evidence.metrics import steps_to_reach
from minirec.evidence.statistics import Interval, paired_interval, t_interval

if TYPE_CHECKING:
    from rich.table import Table

Results = dict[str, Any]
"""What ``results.json`` holds: config, data, seeds, rules, methods, curves, seconds, command."""

METHODS = (
    "uniform random", "popularity", "best fixed list", "greedy on the world model",
    "greedy, re-fitted each turn", "constant reward", "A2C without demonstrations",
    "shuffled demonstrations", "demonstrator", "behaviour cloning", "IL-Rec",
    "minirec without demonstrations", "minirec", "informed bound", "feasible oracle",
)  # fmt: skip
"""Every row a results table can have, in the order of the book."""

OURS, PLAIN = "IL-Rec", "A2C without demonstrations"
COLUMNS = {
    "len": ("Len [items]", 1.0, 1),
    "r_each": ("R_each [points]", 1.0, 2),
    "r_traj": ("R_traj [points]", 1.0, 1),
    "share_oracle": ("of oracle [%]", 100.0, 1),
    "share_upper": ("of upper bound [%]", 100.0, 1),
    "gap": ("gap [points]", 1.0, 1),
    "env_steps": ("steps [1,000]", 1e-3, 1),
}
"""Key in ``results.json`` -> heading with unit, factor to that unit, decimals."""

AUDIT = {
    "episodes": ("episodes", 1, 0),
    "steps": ("recommendations", 1, 0),
    "mean_length": ("Len [items]", 1, 1),
    "r_each": ("R_each [points]", 1, 2),
    "r_traj": ("R_traj [points]", 1, 1),
    "ends": ("ended: {} [% of episodes]", 100, 1),
    "invented_share": ("titles not in the catalogue [%]", 100, 1),
    "grounding": ("grounded: {} [%]", 100, 1),
    "score_by_kind": ("similarity, {} [of 100]", 1, 1),
    "blocked": ("titles that were barred", 1, 0),
    "unreadable_replies": ("unreadable replies", 1, 0),
    "repeats": ("repeats in the episode", 1, 0),
    "window_repeats": ("repeats in the quit window", 1, 0),
    "repeat_quits": ("quits at such a repeat", 1, 0),
    "distinct_items": ("distinct items", 1, 0),
    "effective_items": ("effective number of items", 1, 1),
    "top10_share": ("share of the ten items shown most [%]", 100, 1),
    "genres_an_episode": ("distinct genres an episode", 1, 1),
    "popularity": ("mean popularity [percentile]", 100, 1),
    "coherence": ("thoughts that name a genre of the item [%]", 100, 1),
    "coherence_by_chance": ("the same with items shuffled [%]", 100, 1),
    "cost": ("{} an episode", 1, 1),
}
"""Key of an audit -> words with unit ({} stands for the kind), factor to that unit, decimals."""


@dataclass(frozen=True)
class Report:
    """A table of finished text with sentences under it.

    Attributes:
        headings: Column headings; the first column holds names.
        rows: One tuple of cells per row.
        notes: Sentences under the table.
        best: Which row to emphasise, or None.
        data: The same numbers unrounded, ready for JSON (None where there is none).
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    best: int | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return the table with aligned pipes, the best row bold, and the notes as a list."""
        rows = [list(row) for row in self.rows]
        if self.best is not None:
            rows[self.best] = [f"**{cell}**" for cell in rows[self.best]]
        widths = [max(map(len, column)) for column in zip(self.headings, *rows, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [_line(cells, widths) for cells in (self.headings, rule, *rows)]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def rich(self) -> Table:
        """Return the table for a terminal, the best row bold, with the notes as its caption."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        caption = Text("\n".join(("", *self.notes)))
        table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", padding=0)
        table.show_edge = False
        table.add_column(self.headings[0], min_width=14, overflow="fold", vertical="bottom")
        for heading in self.headings[1:]:
            stacked = Text(heading.replace(" ", "\n"))
            table.add_column(stacked, justify="right", vertical="bottom", no_wrap=True)
        for index, (name, *cells) in enumerate(self.rows):
            tight = [Text(cell.replace(" ± ", "±")) for cell in cells]
            table.add_row(Text(name), *tight, style="bold" if index == self.best else "")
        return table


def per_seed(results: Results, name: str, key: str) -> dict[int, float]:
    """Return the value of ``key`` for each seed of one method; empty if there is none."""
    rows = [row for m in results["methods"] if m["name"] == name for row in m["per_seed"]]
    return {row["seed"]: row[key] for row in rows if row.get(key) is not None}


def method_names(results: Results) -> list[str]:
    """Return the methods of a run in the order of the book; unknown ones come last."""
    names = [method["name"] for method in results["methods"]]
    return sorted(names, key=lambda name: METHODS.index(name) if name in METHODS else len(METHODS))


def shown_name(results: Results, name: str) -> str:
    """Return the method's name for readers: a simulated demonstrator is always called so."""
    simulated = any(m["name"] == name and m.get("simulated") for m in results["methods"])
    return f"{name} (simulated)" if simulated else name


def results_table(results: Results) -> Report:
    """Return the results table of a run: mean and interval over seeds for each method.

    Raises:
        UserError: If the results hold no method.
    """
    names = method_names(results)
    if not names:
        raise UserError("the results hold no method; finish the run with --resume")
    rows, data = [], {}
    for name in names:
        found = {key: t_interval(per_seed(results, name, key).values()) for key in COLUMNS}
        cells = (_cell(found[key], scale, digits) for key, (_, scale, digits) in COLUMNS.items())
        rows.append((shown_name(results, name), *cells))
        data[name] = {key: _plain(interval) for key, interval in found.items()}
    best = next((names.index(name) for name in _ranking(results)), None)
    n = len(results["seeds"])
    seeds = f"± is half the 95 % Student-t interval over {n} seeds; differences pair the seeds."
    if n == 1:
        seeds = "One seed: no interval, no difference is established."
    headings = ("method", *(heading for heading, *_ in COLUMNS.values()))
    notes = *_findings(results), *head_start(results), seeds, _payer(results)
    return Report(headings, tuple(rows), notes, best, data)


def compare(a: Results, b: Results) -> Report:
    """Return the returns of two runs side by side, with the difference ``b - a``.

    Differences are paired over the seeds that both runs have.

    Raises:
        UserError: If the runs have no method in common.
    """
    both = [name for name in method_names(a) if name in method_names(b)]
    if not both:
        raise UserError("the two runs have no method in common; compare runs that were evaluated")
    rows, data = [], {}
    for name in both:
        one, two = per_seed(a, name, "r_traj"), per_seed(b, name, "r_traj")
        found = {"a": t_interval(one.values()), "b": t_interval(two.values())}
        found["difference"] = _difference(two, one)
        cells = (_cell(found["a"]), _cell(found["b"]), _cell(found["difference"], sign="+"))
        rows.append((shown_name(a, name), *cells))
        data[name] = {key: _plain(interval) for key, interval in found.items()}
    seeds = len(set(a["seeds"]) & set(b["seeds"]))
    how = "± half the 95 % Student-t interval" if seeds > 1 else "no interval"
    notes = [f"Differences are B minus A, paired over common seeds ({seeds}): {how}."]
    only = sorted({*method_names(a), *method_names(b)} - set(both))
    notes += [f"In one run only: {', '.join(only)}."] if only else []
    for part in ("data", "rules"):
        if a.get(part) != b.get(part):
            notes.append(f"The runs differ in their {part}: the returns are not comparable.")
    old, new = _leaves(a.get("config", {})), _leaves(b.get("config", {}))
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    notes += [f"Setting {name}: {old.get(name)} -> {new.get(name)}." for name in changed]
    headings = ("R_traj [points]", "run A", "run B", "B - A")
    return Report(headings, tuple(rows), tuple(notes), None, data)


def audit_table(audits: dict[str, dict[str, Any]]) -> Report:
    """Return what ``minirec.demos.audit`` says of each source, one column a source.

    Raises:
        UserError: If there is no audit.
    """
    if not audits:
        raise UserError("there is no audit to show; name a file of demonstrations")
    rows = []
    for key, (words, scale, decimals) in AUDIT.items():
        kinds = [audit[key] if isinstance(audit[key], dict) else {"": audit[key]}
                 for audit in map(with_shares, audits.values())]  # fmt: skip
        for kind in sorted({name for named in kinds for name in named}):
            values = [named.get(kind) for named in kinds]
            cells = ("-" if v is None else f"{v * scale:,.{decimals}f}" for v in values)
            if any(value is not None for value in values):
                rows.append((words.format(kind.replace("_", " ")), *cells))
    notes = (
        "Popularity: how many of the catalogue's items were logged less often; 50 shows no bias.",
        "Coherence means something as far as it exceeds the same with items shuffled.",
        "A dash: there is none, or nobody kept it.",
    )
    return Report(("quantity", *audits), tuple(rows), notes, None, dict(audits))


def with_shares(audit: dict[str, Any]) -> dict[str, Any]:
    """Return an audit with the shares of the kinds of grounding in place of their counts."""
    total = sum(audit["grounding"].values())
    return audit | {"grounding": {how: n / total for how, n in audit["grounding"].items()}}


def _ranking(results: Results) -> list[str]:
    """Return the methods that are no bounds, best mean return first."""
    names = [method["name"] for method in results["methods"] if method["kind"] != "bound"]
    returns = {name: list(per_seed(results, name, "r_traj").values()) for name in names}
    means = {name: sum(values) / len(values) for name, values in returns.items() if values}
    return sorted(means, key=lambda name: -means[name])


def _findings(results: Results) -> list[str]:
    """Say which method wins and which ones are ahead of IL-Rec."""
    ranking = _ranking(results)
    if not ranking:
        return ["No method but bounds was evaluated."]
    returns = {name: per_seed(results, name, "r_traj") for name in ranking}
    shown = {name: f'"{shown_name(results, name)}"' for name in ranking}
    lines = [f"Highest R_traj, bounds aside: {shown[ranking[0]]}"]
    if len(ranking) > 1:
        lead = _difference(returns[ranking[0]], returns[ranking[1]])
        lines[0] += f", ahead of {shown[ranking[1]]} by {_points(lead)}"
    if OURS in ranking:
        ahead = ranking[: ranking.index(OURS)]
        leads = {name: _points(_difference(returns[name], returns[OURS])) for name in ahead}
        told = "; ".join(f"{shown[name]} by {lead}" for name, lead in leads.items())
        lines.append(f"Ahead of {OURS}: {told}" if ahead else f"No other method is ahead of {OURS}")
    return [f"{line}." for line in lines]


def head_start(results: Results) -> list[str]:
    """Say after how many environment steps IL-Rec and A2C reach half of the feasible oracle."""
    half = {
        (curve["name"], curve["seed"]): steps_to_reach(curve["steps"], curve["share_oracle"], 0.5)
        for curve in results.get("curves", [])
    }
    if not half:
        return []
    pairs = [[half.get((name, seed)) for name in (OURS, PLAIN)] for seed in results["seeds"]]
    ours, plain = ([steps for steps in reached if steps] for reached in zip(*pairs, strict=True))
    if len(ours) + len(plain) < 2 * len(pairs):
        counts = f"{OURS} in {len(ours)}, {PLAIN} in {len(plain)} of {len(pairs)} seeds"
        return [f"Half of the oracle: {counts}."]
    ratio = t_interval(one / two for one, two in zip(ours, plain, strict=True))
    sure = "" if math.isnan(ratio.half) else f" (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
    return [
        f"Half of the oracle: {OURS} after {sum(ours) / len(ours):,.0f} environment steps, "
        f"{PLAIN} after {sum(plain) / len(plain):,.0f}; ratio {ratio.estimate:.2f}{sure}."
    ]


def _payer(results: Results) -> str:
    """Say which reward pays the scores."""
    judge = results.get("data", {}).get("judge")
    if not judge:
        return "Scores are paid by the truth of the small world, to users that no stage has seen."
    error = f"RMSE {judge['rmse']:.2f} rating points"
    error += f"; the mean rating's: {judge['rmse_mean']:.2f}" if "rmse_mean" in judge else ""
    return (
        f"Scores are paid by a judge with its own error ({error}): a model of another kind, "
        "fitted on the other half of the log; users are ones that no stage has seen."
    )


def _difference(one: dict[int, float], two: dict[int, float]) -> Interval:
    """Return ``one - two``, paired over common seeds; without any, the means' difference."""
    common = sorted(one.keys() & two.keys())
    if common:
        return paired_interval([one[seed] for seed in common], [two[seed] for seed in common])
    means = [t_interval(values.values()).estimate for values in (one, two)]
    return Interval(means[0] - means[1], math.nan, math.nan, 0)


def _cell(interval: Interval, scale: float = 1.0, decimals: int = 1, sign: str = "") -> str:
    """Format a mean, with its interval if it has a width."""
    if math.isnan(interval.estimate):
        return "-"
    text = f"{round(interval.estimate * scale, decimals) + 0:{sign}.{decimals}f}"  # no -0.0
    return f"{text} ± {interval.half * scale:.{decimals}f}" if interval.half > 0 else text


def _points(lead: Interval) -> str:
    """Format a difference with its interval for a sentence."""
    if math.isnan(lead.half):
        return f"{lead.estimate:.1f} points (no interval)"
    chance = "" if lead.excludes_zero else ", so not beyond chance"
    return f"{lead.estimate:.1f} points (95 % interval {lead.low:.1f} to {lead.high:.1f}{chance})"


def _leaves(config: Any, path: str = "") -> dict[str, Any]:
    """Return nested settings as ``{"section.name": value}``."""
    if not isinstance(config, dict):
        return {path.strip("."): config}
    inner = [_leaves(value, f"{path}.{name}") for name, value in config.items()]
    return {name: value for leaves in inner for name, value in leaves.items()}


def _plain(interval: Interval) -> dict[str, Any]:
    """Return an interval for JSON: NaN becomes None."""
    return {name: None if math.isnan(v) else v for name, v in interval._asdict().items()}


def _line(cells: Iterable[str], widths: list[int]) -> str:
    """Return one Markdown row; the first column is left-aligned, the others right-aligned."""
    first, *rest = zip(cells, widths, strict=True)
    return f"| {' | '.join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)])} |"
