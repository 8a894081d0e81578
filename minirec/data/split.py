"""Who is trained on and who is judged. Chapter: 02-data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minirec._io import IntArray, UserError
from minirec.data.interactions import Interactions


@dataclass(frozen=True)
class Split:
    """A log cut by user and, within users, in halves; users keep their numbers 0..U-1.

    Attributes:
        train: What the world model learns from: rows of training users.
        visible: The earlier half of each test user's rows.
        hidden: What only the judge may see: the later half of each test user's rows and, where
            the judge must be fitted to a log, of each training user's.
        start: What an episode may show of its user beforehand: the earlier half of every user's
            rows, so that training episodes start with as little knowledge as judged ones.
        train_users: Their numbers, ascending.
        test_users: Their numbers, ascending: users that no stage has seen.
    """

    train: Interactions
    visible: Interactions
    hidden: Interactions
    start: Interactions
    train_users: IntArray
    test_users: IntArray


def split(
    log: Interactions, *, test_share: float = 0.2, rng: np.random.Generator, judge_needs_log: bool
) -> Split:
    """Draw the test users and cut rows in halves: by time, or at random where there is none.

    Of an odd number of rows the middle one is in the earlier half.

    Args:
        log: The log.
        test_share: Share of users to judge by; at least one user is, and one is not.
        rng: Draws the test users and, without times, the halves.
        judge_needs_log: False where the truth is known: training users then keep all their rows.

    Raises:
        UserError: If ``test_share`` is not between 0 and 1, or the log has one user.
    """
    if not 0 < test_share < 1:
        raise UserError(f"test_share={test_share} must be more than 0 and less than 1")
    if log.n_users < 2:
        raise UserError(f"{log.n_users} user cannot be split into training and test; bring more")
    n_test = int(np.clip(round(test_share * log.n_users), 1, log.n_users - 1))
    is_test = np.zeros(log.n_users, dtype=bool)
    is_test[rng.permutation(log.n_users)[:n_test]] = True
    rows = np.arange(len(log.users))
    order = np.lexsort((rng.random(len(rows)) if log.times is None else rows, log.users))
    early = np.empty(len(rows), dtype=bool)
    early[order] = 2 * (rows - log.offsets[log.users]) < np.diff(log.offsets)[log.users]
    test = is_test[log.users]
    train, hidden = (~test & early, ~early) if judge_needs_log else (~test, test & ~early)
    return Split(
        log.subset(train), log.subset(test & early), log.subset(hidden), log.subset(early),
        train_users=np.flatnonzero(~is_test), test_users=np.flatnonzero(is_test),
    )  # fmt: skip
