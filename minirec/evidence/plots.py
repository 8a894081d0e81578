"""The figures of a run, of an audit, of a learned reward; the only module that imports matplotlib.

Figures are built with matplotlib's object interface, so they need no display. Each function
returns the figure, an alt text that states what the data show, and a caption that says what is
drawn, how many seeds there are and what the band is. Colours are those of Okabe and Ito; colour,
marker and line style of a method are the same in the whole book.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from minirec._io import FloatArray, UserError, atomic
from minirec.evidence.metrics import steps_to_reach
from minirec.evidence.statistics import half_width, t_interval
from minirec.evidence.tables import OURS, Results, method_names, per_seed, shown_name, with_shares
from minirec.irl.compare import rank_correlations

Drawn = tuple[Figure, str, str]
"""A figure, its alt text, its caption."""

WIDTH = 6.4  # inches


class Style(NamedTuple):
    """How one method looks everywhere: never told apart by colour alone."""

    colour: str
    marker: str
    line: Any

    def kwargs(self, **more: Any) -> dict[str, Any]:
        """Return keyword arguments for ``Axes.plot`` and ``Axes.errorbar``."""
        own = {"color": self.colour, "marker": self.marker, "linestyle": self.line}
        return {**own, "markeredgecolor": "#222222", "markeredgewidth": 0.6, **more}


METHOD_STYLE = {
    "uniform random": Style("#777777", "X", ":"),
    "popularity": Style("#F0E442", "p", ":"),
    "best fixed list": Style("#F0E442", "h", "--"),
    "greedy on the world model": Style("#777777", "<", "--"),
    "greedy, re-fitted each turn": Style("#777777", ">", "-."),
    "constant reward": Style("#CC79A7", "v", (0, (1, 1.2))),
    "A2C without demonstrations": Style("#0072B2", "s", (0, (5, 2))),
    "shuffled demonstrations": Style("#56B4E9", "P", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
    "demonstrator": Style("#E69F00", "D", "--"),
    "behaviour cloning": Style("#009E73", "^", "-."),
    "IL-Rec": Style("#D55E00", "o", "-"),
    "minirec without demonstrations": Style("#777777", "8", (0, (3, 1))),
    "minirec": Style("#CC79A7", "H", "-"),
    "informed bound": Style("#000000", "d", (0, (7, 3))),
    "feasible oracle": Style("#000000", "*", "-"),
}
"""Okabe-Ito colour, marker and line style of each method, the same in the whole book."""

KINDS = (
    ("#0072B2", ""), ("#56B4E9", "//"), ("#F0E442", ".."), ("#E69F00", "xx"), ("#CC79A7", "||"),
    ("#777777", "--"),
)  # fmt: skip
"""Okabe-Ito colour and hatching of the parts of a bar, in their order."""
PANELS: Any = [["grounding"] * 3 + ["ends"] * 3, ["top"] * 2 + ["coherence"] * 2 + ["known"] * 2]

OTHER = Style("#000000", ".", "-")
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 3.2}


def learning_curves(results: Results) -> Drawn:
    """Draw the share of the feasible oracle against environment steps, judged by the payer.

    Raises:
        UserError: If the results hold no learning curve.
    """
    curves = results.get("curves", [])
    if not curves:
        raise UserError("the results hold no learning curve; run the 'train' and 'evaluate' stages")
    labels = "environment steps [thousand, square-root scale]", "share of the feasible oracle [%]"
    figure, axes = _figure(3.6, *labels)
    told = {}
    for name in sorted({curve["name"] for curve in curves}, key=method_names(results).index):
        steps, runs = _common_grid([curve for curve in curves if curve["name"] == name])
        mean, band = runs.mean(0), half_width(runs)
        style, shown = METHOD_STYLE.get(name, OTHER), shown_name(results, name)
        if 1 < len(runs) <= 10:
            axes.plot(steps, runs.T, color=style.colour, linewidth=0.5, alpha=0.5)
        axes.fill_between(steps, mean - band, mean + band, color=style.colour, alpha=0.15, lw=0)
        every = max(1, len(steps) // 8)
        axes.plot(steps, mean, **style.kwargs(linewidth=2, markevery=every, label=shown))
        half = steps_to_reach(steps, mean, 50.0)
        when = "never reaching half" if half is None else f"passing half at {half:.1f} thousand"
        told[f"{shown} ends at {mean[-1]:.0f} %, {when}"] = mean[-1]
    for name in ("uniform random", "demonstrator", "informed bound"):
        values = list(per_seed(results, name, "share_oracle").values())
        if values:
            level, style = 100 * float(np.mean(values)), METHOD_STYLE[name]
            axes.axhline(level, color=style.colour, linestyle=style.line, linewidth=1.2)
            shown, across = shown_name(results, name), axes.get_yaxis_transform()
            axes.text(1, level, shown, transform=across, ha="right", va="bottom", fontsize=8)
    axes.set_xscale("function", functions=(np.sqrt, np.square))  # the beginning matters most
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.02), **LEGEND)
    caption = (
        f"Return, {_payer(results)}, as a share of the feasible oracle's on the same users. "
        "The steps of the demonstrations count as environment steps. "
        f"{_band(results, 'Line: mean', 'band', '; thin lines: single seeds')} "
        "Horizontal: methods that do not train."
    )
    best_first = sorted(told, key=lambda sentence: -told[sentence])
    return figure, f"Share of the feasible oracle: {'; '.join(best_first)}.", caption


def shares(results: Results) -> Drawn:
    """Draw the share of the feasible oracle by method, with intervals and every seed.

    Raises:
        UserError: If the results hold no share.
    """
    found = _per_method(results, "share_oracle")
    found.pop("feasible oracle", None)
    if not found:
        raise UserError("the results hold no share of the oracle; run the 'evaluate' stage")
    shown = {name: shown_name(results, name) for name in found}
    figure, axes = _figure(0.9 + 0.28 * len(found), "share of the feasible oracle [%]", "")
    means = {}
    for row, (name, values) in enumerate(found.items()):
        values, style = 100 * values, METHOD_STYLE.get(name, OTHER)
        interval = t_interval(values)
        means[name] = interval.estimate
        if interval.n > 1:
            dots = style.kwargs(linestyle="none", markersize=3, alpha=0.7, markeredgewidth=0.3)
            axes.plot(values, np.full(interval.n, row + 0.32), **dots)
        look = style.kwargs(markersize=7, capsize=4, elinewidth=1.4, ecolor="#222222")
        axes.errorbar(interval.estimate, row, xerr=interval.half, **look)
    axes.set_yticks(range(len(found)), list(shown.values()))
    axes.set(xlim=(0, max(102.0, 1.02 * max(means.values()))), ylim=(len(found) - 0.4, -0.6))
    axes.axvline(100, color="#000000", linewidth=1)
    axes.grid(axis="y", visible=False)
    best = [n for n in sorted(means, key=lambda n: -means[n]) if n != "informed bound"]
    alt = f"{shown[best[0]]} earns most of all methods but the bounds, "
    alt += f"{means[best[0]]:.0f} % of the feasible oracle"
    if OURS in best[1:]:
        alt += f"; IL-Rec earns {means[OURS]:.0f} %, rank {best.index(OURS) + 1} of {len(best)}"
    alt += f"; the least is earned by {shown[best[-1]]}, {means[best[-1]]:.0f} %."
    caption = (
        f"Return, {_payer(results)}, as a share of the feasible oracle's on the same users "
        f"(line at 100 %). {_band(results, 'Marker: mean', 'bar', '; small markers: single seeds')}"
    )
    return figure, alt, caption


def length_reward(results: Results) -> Drawn:
    """Draw episode length against reward per step; curves join points of equal return.

    Raises:
        UserError: If the results hold no method with a length and a reward.
    """
    lengths, each = (_per_method(results, key) for key in ("len", "r_each"))
    points = {name: (t_interval(lengths[name]), t_interval(each[name])) for name in lengths}
    if not points:
        raise UserError("the results hold no lengths and rewards; run the 'evaluate' stage")
    labels = ("episode length [items, log scale]", "reward per step [rating points]")
    figure, axes = _figure(3.6, *labels)
    for name, (x, y) in points.items():
        style, shown = METHOD_STYLE.get(name, OTHER), shown_name(results, name)
        look = style.kwargs(linestyle="none", markersize=8, elinewidth=1, label=shown)
        axes.errorbar(x.estimate, y.estimate, xerr=x.half, yerr=y.half, **look)
    x_means, y_means = ([point[k].estimate for point in points.values()] for k in (0, 1))
    left, right = max(0.7, 0.7 * min(x_means)), 1.6 * max(x_means)
    bottom, top = min(y_means) - 0.3, max(y_means) + 0.3
    for total in (5, 10, 20, 50, 100, 200, 500):  # points of equal return, named at the top
        curve = np.geomspace(total / top, total / bottom, 50)
        axes.plot(curve, total / curve, color="#999999", linestyle=":", linewidth=1, zorder=1)
        if left < curve[0] < right:
            axes.text(curve[0], top, f"{total}", ha="center", va="bottom", fontsize=8)
    axes.set(xscale="log", xlim=(left, right), ylim=(bottom, top))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), **LEGEND)
    longest, richest = (
        max((n for n in points if n != "feasible oracle"), key=lambda n: points[n][k].estimate)
        for k in (0, 1)
    )
    told = {n: f"{x.estimate:.1f} items at {y.estimate:.2f} points" for n, (x, y) in points.items()}
    alt = f"Oracle aside, {shown_name(results, longest)} keeps users longest ({told[longest]}), "
    alt += f"{shown_name(results, richest)} earns most per step ({told[richest]})"
    alt += f"; IL-Rec holds {told[OURS]}." if OURS in points else "."
    caption = (
        f"Reward per step (pooled), {_payer(results)}, against episode length; dotted curves join "
        "points of equal return [rating points]; no axis starts at zero. "
        f"{_band(results, 'Marker: mean', 'bars', '')}"
    )
    return figure, alt, caption


def audit_figure(audits: dict[str, dict[str, Any]]) -> Drawn:
    """Draw what tells sources of demonstrations apart; the audits are ``minirec.demos.audit``'s.

    Raises:
        UserError: If there is no audit.
    """
    if not audits:
        raise UserError("there is no audit to draw; name a file of demonstrations")
    names, rows = list(audits), np.arange(len(audits))
    size = WIDTH, 2.8 + 0.5 * len(names)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    axes: dict[str, Axes] = figure.subplot_mosaic(PANELS, sharey=True)
    for panel in axes.values():
        _style(panel)
    shares = [with_shares(audit) for audit in audits.values()]
    for key, label in (("grounding", "titles grounded [%]"), ("ends", "episodes ended [%]")):
        panel, left = axes[key], np.zeros(len(names))
        kinds = sorted({kind for share in shares for kind in share[key]})
        for kind, (colour, hatch) in zip(kinds, KINDS * 2, strict=False):
            width = np.array([100 * share[key].get(kind, 0) for share in shares])
            look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
            named = kind.replace("_", " ")
            panel.barh(rows, width, 0.6, left, label=named, **look)
            left += width
        panel.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), **LEGEND)
        panel.set(xlabel=label, xlim=(0, 100))
    found = {
        key: np.array([np.nan if audit[key] is None else 100 * audit[key] for audit in shares])
        for key in ("top10_share", "coherence", "coherence_by_chance", "popularity")
    }
    dot: dict[str, Any] = {"marker": "o", "ls": "none", "color": "#D55E00"}
    axes["top"].plot(found["top10_share"], rows, **dot)
    axes["known"].plot(found["popularity"], rows, **dot)
    axes["known"].axvline(50, color="#000000", linewidth=1)
    by_chance = found["coherence_by_chance"]
    axes["coherence"].hlines(rows, by_chance, found["coherence"], color="#777777", linewidth=1)
    axes["coherence"].plot(by_chance, rows, marker="|", markersize=12, color="#000000", ls="none")
    axes["coherence"].plot(found["coherence"], rows, **dot)
    axes["top"].set(xlabel="of the top ten items [%]", xlim=(0, 100))
    axes["coherence"].set(xlabel="thoughts that fit [%]", xlim=(0, 100))
    axes["known"].set(xlabel="popularity [percentile]", xlim=(0, 100))
    axes["top"].set_yticks(rows, names)
    axes["top"].set_ylim(len(names) - 0.5, -0.5)
    told = [
        f"{name} invents {100 * audit['invented_share']:.0f} % of its titles and gives "
        f"{100 * audit['top10_share']:.0f} % of its recommendations to ten items"
        + ("" if audit["coherence"] is None else f"; {100 * audit['coherence']:.0f} % of its "
           f"thoughts fit the item, {100 * audit['coherence_by_chance']:.0f} % by chance")
        for name, audit in audits.items()
    ]  # fmt: skip
    caption = (
        "Above: how titles were grounded, and how episodes ended. Below: the share of the ten "
        "items shown most; the thoughts that name a genre of the item shown (line: the same with "
        "items shuffled); and how popular the items shown are (line: no bias)."
    )
    return figure, f"{'. '.join(told)}.", caption


def reward_recovery(learned: FloatArray, truth: FloatArray) -> Drawn:
    """Draw a learned reward against the true one, and how well it ranks each user's items.

    Args:
        learned: Learned reward of B users and N items, any offset and scale, shape (B, N).
        truth: True rewards, rating points, shape (B, N).

    Raises:
        UserError: If the shapes differ.
    """
    if learned.shape != truth.shape:
        raise UserError(f"learned rewards {learned.shape} and true ones {truth.shape} must pair up")
    ranks = rank_correlations(learned, truth)
    figure = Figure(figsize=(WIDTH, 3.0), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    standard = (learned - learned.mean()) / learned.std()
    edges = np.quantile(truth, np.linspace(0, 1, 11))
    bins = np.searchsorted(edges[1:-1], truth.ravel())
    tenths = [bins == b for b in np.unique(bins)]
    middle = [truth.ravel()[tenth].mean() for tenth in tenths]
    quartiles = [np.percentile(standard.ravel()[tenth], (25, 50, 75)) for tenth in tenths]
    low, median, high = np.transpose(quartiles)
    style = METHOD_STYLE["IL-Rec"]
    left.fill_between(middle, low, high, color=style.colour, alpha=0.2, lw=0)
    left.plot(middle, median, **style.kwargs(linewidth=2))
    left.set(xlabel="true reward [rating points]", ylabel="learned reward [standard deviations]")
    right.hist(ranks[np.isfinite(ranks)], bins=np.linspace(-1, 1, 21), color="#0072B2", ec="white")
    right.axvline(0, color="#000000", linewidth=1)
    right.set(xlabel="rank correlation of one user", ylabel="users", xlim=(-1, 1))
    _style(left)
    _style(right)
    mean, above = float(np.nanmean(ranks)), float(np.mean(ranks[np.isfinite(ranks)] > 0))
    alt = "The learned reward ranks items like the truth with a mean rank correlation of "
    alt += f"{mean:.2f}, above 0 for {100 * above:.0f} % of the users."
    caption = (
        f"n = {len(ranks)} users. Left: median learned reward by tenth of the true one, band: "
        "quartiles. Right: Spearman's rank correlation over the items, user by user."
    )
    return figure, alt, caption


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG at 144 dots per inch, atomically; equal figures give equal bytes."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=144, metadata={"Software": None})


def _figure(height: float, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Return an empty figure of the book's width in the book's style."""
    figure = Figure(figsize=(WIDTH, height), facecolor="white", layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    """Give axes the book's look."""
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _per_method(results: Results, key: str) -> dict[str, FloatArray]:
    """Return the values of ``key``, (R,), of each method that has some."""
    names = method_names(results)
    found = {name: np.array(list(per_seed(results, name, key).values())) for name in names}
    return {name: values for name, values in found.items() if len(values)}


def _common_grid(curves: list[dict[str, Any]]) -> tuple[FloatArray, FloatArray]:
    """Bring R curves to common steps: (C,) in thousand steps, (R, C) in percent of the oracle."""
    steps = [np.asarray(curve["steps"], float) / 1e3 for curve in curves]
    first, last = max(s[0] for s in steps), min(s[-1] for s in steps)
    grid = np.unique(np.concatenate(steps).clip(first, last))
    shares = [np.asarray(curve["share_oracle"], float) * 100 for curve in curves]
    return grid, np.stack([np.interp(grid, s, v) for s, v in zip(steps, shares, strict=True)])


def _payer(results: Results) -> str:
    """Say who judges the return."""
    judge = results.get("data", {}).get("judge")
    return f"judged by {'a second model' if judge else 'the truth'}"


def _band(results: Results, centre: str, band: str, singles: str) -> str:
    """Say what the centre, the band and the single marks are, and over how many seeds."""
    seeds = len(results["seeds"])
    if seeds == 1:
        return "One seed (n = 1): no interval."
    return f"{centre} of n = {seeds} seeds; {band}: 95 % Student-t interval{singles}."
