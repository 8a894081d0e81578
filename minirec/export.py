"""From a policy of torch to two files that serve without it: arrays, and what they belong to."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minirec import __version__
from minirec._io import FloatArray, UserError, atomic, read_json, write_json
from minirec.forward import Forward, Weights

if TYPE_CHECKING:
    from minirec.rl.policy import RecPolicy

FORMAT = 1  # of the two files; raise it when their meaning changes
ARRAYS, ABOUT = "policy.npz", "policy.json"
BUNDLED = Path(__file__).parent / "_bundled"  # a run folder; its export is in `serve`


def freeze(policy: RecPolicy) -> Forward:
    """Return the forward pass of a policy in NumPy, everything computed that can be in advance.

    An item's logit is its own bias plus the product of its features with what is wanted of them.

    Raises:
        UserError: If the tracker is not a GRU, or a number is not finite.
    """
    import torch
    from torch.nn.functional import pad

    from minirec.rl.policy import RIDGE
    from minirec.rl.trackers import GRUTracker

    if not isinstance(policy.tracker, GRUTracker):
        kind = type(policy.tracker).__name__
        raise UserError(f"the policy has a {kind}; only a GRUTracker can be exported, so train one")

    def array(tensor: torch.Tensor) -> FloatArray:
        return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)

    table, gru = policy.table(), policy.tracker.cell
    sharp = float(policy.sharpness.detach()) if policy.foresight else 0.0
    # what is wanted of the features: by the reward head, which sees the last rows only of what the
    # actor sees; its regression, where it has a prior; and by the actor
    towards, tracked = pad(policy.project.weight, (0, 1)), policy.tracker.width
    wanted = policy.taste.weight.T @ towards
    wanted[:, -1:] += policy.level.weight.T
    if policy.prior is not None:
        wanted[:-1] += 2 * torch.eye(policy.width)
    head = pad(policy.query.weight.T, (0, 1)) + pad(sharp * wanted, (0, 0, tracked, 0))
    bias = sharp * (policy.taste.bias @ towards)
    bias[:-1] += policy.query.bias
    bias[-1:] += sharp * policy.level.bias
    weights = Weights(
        features=array(policy.features),
        bias=array(table.bias + sharp * (table.quality + table.prior[:-1].T - 3))[0],
        prior=array(table.prior[:-1])[:, 0],
        pairs=array(gru.weight_ih.T), pairs_bias=array(gru.bias_ih),
        gates=array(gru.weight_hh.T), gates_bias=array(gru.bias_hh),
        head=np.pad(array(head), ((0, 0), (1, 0))), head_bias=np.append(np.float32(1), array(bias)),
    )  # fmt: skip
    if bad := [name for name, value in weights._asdict().items() if not np.isfinite(value).all()]:
        raise UserError(f"the policy's {bad[0]} holds numbers that are not finite; train it anew")
    return Forward(weights, RIDGE)


def export(policy: RecPolicy, titles: Sequence[str], path: str | Path) -> Path:
    """Write a policy and its N titles into the folder ``path``; ``Recommender.load`` reads it.

    ``policy.npz`` holds arrays only; ``policy.json`` the titles, the sizes, the ridge regression's
    penalty, the format's version, and the check sum of the arrays that it belongs to.

    Returns:
        The folder.

    Raises:
        UserError: If the policy cannot be exported or has not as many items as there are titles.
    """
    frozen, folder = freeze(policy), Path(path)
    named = matched(frozen, titles)
    with atomic(folder / ARRAYS) as temporary:
        np.savez(temporary, allow_pickle=False, **frozen.weights._asdict())
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    n_items, n_features = frozen.weights.features.shape
    sizes = {"items": n_items, "features": n_features, "hidden": frozen.hidden}
    about = {"format": FORMAT, "version": __version__, "sha256": digest, "tracker": "gru",
             "ridge": frozen.ridge, "sizes": sizes, "titles": named}  # fmt: skip
    write_json(folder / ABOUT, about)
    return folder


def load_export(path: str | Path) -> tuple[Forward, tuple[str, ...]]:
    """Return what :func:`export` wrote: the forward pass and the titles.

    Raises:
        UserError: If a file is missing or damaged, or of another format.
    """
    folder = Path(path)
    about, again = read_json(folder / ABOUT), "write it anew with `minirec export`"
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise UserError(f"{folder / ABOUT} has format {found}, not {FORMAT}; {again}")
    try:
        content = (folder / ARRAYS).read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such file: {folder / ARRAYS}; {again}") from None
    if hashlib.sha256(content).hexdigest() != about.get("sha256"):
        raise UserError(f"{folder / ARRAYS} is not the one that {ABOUT} belongs to; {again}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            frozen = Forward(Weights(**arrays), float(about["ridge"]))
        return frozen, matched(frozen, list(map(str, about["titles"])))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} holds no whole export ({error}); {again}") from None


def load_run(run: str | Path | None = None) -> tuple[RecPolicy, tuple[str, ...]]:
    """Return the policy of a run folder, or of the bundled one, as torch's module; and its titles.

    Raises:
        UserError: If the folder holds no finished policy, it is damaged, or torch is missing.
    """
    run = BUNDLED if run is None else Path(run)
    found = sorted(run.glob("seed-*/serve-minirec.pt"))
    if not found:
        fix = f"train one with `minirec run --out {run}`, or leave out --run to use the bundled one"
        raise UserError(f"{run} holds no trained policy; {fix}")
    try:
        import torch

        from minirec.rl.policy import load_policy
    except ImportError:
        raise UserError(f"{run} needs torch; `minirec export` it where there is torch") from None
    try:
        policy = load_policy(torch.load(found[0], weights_only=True, map_location="cpu"))
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, pickle.UnpicklingError) as it:
        what = type(it).__name__  # torch's own words fill half a page
        raise UserError(f"{found[0]} is damaged ({what}); restore it or train anew") from None
    return policy, tuple(read_json(found[0].with_name("titles.json")))


def matched(frozen: Forward, titles: Sequence[str]) -> tuple[str, ...]:
    """Return the titles, one for each item.

    Raises:
        UserError: If there are more or fewer.
    """
    if len(titles) != frozen.n_items:
        found = f"the policy knows {frozen.n_items} items but there are {len(titles)} titles"
        raise UserError(f"{found}; give one title for each")
    return tuple(titles)
