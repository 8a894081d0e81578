from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from conftest import BUNDLED, needs_bundled
from minirec._io import UserError, generator
from minirec.serve import Recommender, Session, parse_history


@pytest.fixture(scope="module", params=["trained", pytest.param("bundled", marks=needs_bundled)])
def served(request: pytest.FixtureRequest) -> Recommender:
    run = request.getfixturevalue("finished") if request.param == "trained" else BUNDLED.parents[1]
    return Recommender.load(run)


def titles(found):
    return [title for title, _ in found]


def test_ten_distinct_titles_and_none_of_the_history(served):
    history = list(served.titles[:30])
    found = served.recommend(history)
    assert len(set(titles(found))) == 10
    assert set(titles(found)) <= set(served.titles[30:])
    chances = [chance for _, chance in found]
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) <= 1


def test_the_same_history_gives_the_same_list(served):
    history = [(served.titles[3], 4.0), served.titles[8]]
    assert served.recommend(history) == served.recommend(history)


def test_a_longer_list_begins_with_the_shorter_and_ends_with_the_catalogue(served):
    history = [served.titles[0]]
    everything = served.recommend(history, len(served.titles) - 1)
    assert served.recommend(history, 3) == everything[:3]
    assert set(titles(everything)) == set(served.titles[1:])


def test_ratings_and_order_matter(served):
    for title in served.titles[:20]:
        liked, disliked = served.recommend([(title, 5)]), served.recommend([(title, 1)])
        assert titles(liked) != titles(disliked)
        assert served.recommend([title]) == liked
    first, second = (served.titles[0], 5), (served.titles[1], 1)
    assert served.recommend([first, second]) != served.recommend([second, first])


def test_somebody_unknown_is_served_too(served):
    assert len(served.recommend([])) == 10


def test_spelling_and_case_may_differ_a_little(served):
    title = max(served.titles, key=len)
    for written in (title.upper(), title.replace("e", "", 1), f"  {title}!"):
        assert served.recommend([written]) == served.recommend([title])


def test_an_unknown_title_is_refused_with_the_nearest(served):
    near = served.grounder.nearest("zzzz")
    with pytest.raises(UserError, match="no title like 'zzzz'") as caught:
        served.recommend(["zzzz"])
    assert all(repr(title) in str(caught.value) for title, _ in near)


@pytest.mark.parametrize("rating", [0.9, 5.1, -1, float("nan"), float("inf")])
def test_a_rating_is_from_1_to_5(served, rating):
    with pytest.raises(UserError, match="ratings go from 1 to 5"):
        served.recommend([(served.titles[0], rating)])


@pytest.mark.parametrize("k", [-1, 0, 10_000])
def test_k_is_from_1_to_what_is_left(served, k):
    left = len(served.titles) - 1
    with pytest.raises(UserError, match=f"k is {k}; .* 1 to {left} titles"):
        served.recommend([served.titles[0]], k)


# What else can be asked for


def test_a_batch_is_many_single_calls(served):
    rng = generator(0, "histories")
    lengths = [0, 1, 10, 3, *rng.integers(0, 12, 40)]
    histories = [[(served.titles[i], float(rng.integers(1, 6))) for i in rng.choice(99, n, False)]
                 for n in lengths]  # fmt: skip
    batch = served.recommend_batch(histories, 7, exclude=served.titles[100:110])
    for history, found in zip(histories, batch, strict=True):
        alone = served.recommend(history, 7, exclude=served.titles[100:110])
        assert titles(found) == titles(alone)
        assert [p for _, p in found] == pytest.approx([p for _, p in alone], rel=1e-3)
    assert served.recommend_batch([]) == []


def test_the_same_generator_draws_the_same_in_a_batch_and_one_by_one(served):
    histories = [list(served.titles[:n]) for n in range(20)]
    one, many = generator(0, "sampling"), generator(0, "sampling")
    alone = [titles(served.recommend(history, 5, rng=one)) for history in histories]
    assert [titles(found) for found in served.recommend_batch(histories, 5, rng=many)] == alone


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_titles_are_drawn_from_the_softmax_without_repeats(served, temperature):
    n = 4_000
    few = set(served.titles) - set(titles(served.recommend([], 5)))  # five are left
    p = dict(served.recommend([], 5, exclude=few, temperature=temperature))
    assert sum(p.values()) == pytest.approx(1, abs=1e-5)
    drawn = served.recommend_batch(
        [[]] * n, 2, exclude=few, temperature=temperature, rng=generator(1, "sampling")
    )
    counts = Counter(tuple(titles(found)) for found in drawn)
    pairs = [(a, b) for a in p for b in p if a != b]
    expected = np.array([p[a] * p[b] / (1 - p[a]) for a, b in pairs])
    expected *= n / expected.sum()  # float32 sums to 1 almost
    assert counts.keys() <= set(pairs) and expected.min() > 5
    assert chisquare([counts[pair] for pair in pairs], expected).pvalue > 1e-3
    listed = served.recommend_batch([[]] * n, 5, exclude=few, temperature=temperature)
    for found, every in zip(drawn[:9], listed[:9], strict=True):  # one by one, float32 sums differ
        chances = dict(every)
        assert [chance for _, chance in found] == pytest.approx([chances[t] for t in titles(found)])


def test_a_temperature_evens_out_and_keeps_the_order(served):
    tops = [served.recommend([], temperature=t)[0].probability for t in (0.5, 1, 2, 1e6)]
    assert tops == sorted(tops, reverse=True)
    assert tops[-1] == pytest.approx(1 / len(served.titles), rel=1e-3)
    orders = [titles(served.recommend([], 20, temperature=t)) for t in (0.5, 1, 2)]
    assert orders[0] == orders[1] == orders[2]


def test_nobody_gets_what_is_excluded(served):
    first = served.recommend([], 20)
    without = served.recommend([], 10, exclude=titles(first[:10]))
    assert titles(without) == titles(first[10:])
    numbers = [served.titles.index(title) for title in titles(first[:10])]
    assert served.recommend([], 10, exclude=numbers) == without
    assert sum(p for _, p in without) > sum(p for _, p in first[10:])  # shared out anew


def test_near_items_are_skipped_as_the_quit_rule_would(served):
    vectors = served.forward.weights.features
    history, limit = list(served.titles[:6]), None
    for window in (1, 4, 99):
        recent = vectors[:6][-window:]
        apart = np.linalg.norm(vectors[:, None] - recent, axis=2).min(1)
        limit = float(np.median(apart))
        near = [served.titles[i] for i in np.flatnonzero(apart < limit)]
        left = int((apart >= limit)[6:].sum())
        assert 0 < left < len(served.titles) - 6
        expected = served.recommend(history, left, exclude=near)
        assert served.recommend(history, left, min_distance=limit, window=window) == expected
        with pytest.raises(UserError, match=f"leave 1 to {left} titles"):
            served.recommend(history, left + 1, min_distance=limit, window=window)
    assert served.recommend(history, min_distance=0.0) == served.recommend(history)
    assert served.recommend([], min_distance=limit) == served.recommend([])
    histories = [history, [], history[:1]]
    batch = served.recommend_batch(histories, 3, min_distance=limit)
    for one, found in zip(histories, batch, strict=True):
        assert titles(found) == titles(served.recommend(one, 3, min_distance=limit))
    with pytest.raises(UserError, match="leave no title"):
        served.recommend(history, min_distance=1e9)


def test_item_numbers_give_what_titles_give(served):
    items, ratings = [[4, 8, 2], []], [[5, 1.5, 3], []]
    found, chances = served.recommend_items(items, ratings, 6)
    history = [(served.titles[i], r) for i, r in zip(items[0], ratings[0], strict=True)]
    batch = served.recommend_batch([history, []], 6)
    assert [[served.titles[i] for i in row] for row in found] == list(map(titles, batch))
    assert chances.tolist() == [[p for _, p in one] for one in batch]


def test_a_session_recommends_as_if_all_had_been_read_at_once(served):
    history = [(title, 1.0 + n % 5) for n, title in enumerate(served.titles[:12])]
    session = Session(served, history[:2])
    for n, entry in enumerate(history[2:], 3):
        session.saw(entry)
        found, expected = session.recommend(5), served.recommend(history[:n], 5)
        assert titles(found) == titles(expected)
        assert [p for _, p in found] == pytest.approx([p for _, p in expected], rel=1e-3)
    before = session.recommend()
    with pytest.raises(UserError):
        session.saw(served.titles[20], ("zzzz", 3))
    assert session.recommend() == before
    assert Session(served).recommend() == served.recommend([])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.recommend([], temperature=0), "temperature is 0; use a number above 0"),
        (lambda s: s.recommend([], temperature=float("nan")), "temperature is nan"),
        (lambda s: s.recommend([], window=0), "window is 0"),
        (lambda s: s.recommend([], min_distance=-1), "min_distance -1; use 1 or more and"),
        (lambda s: s.recommend([], exclude=["zzzz"]), "no title like 'zzzz'"),
        (lambda s: s.recommend([], exclude=[-1]), "no item -1"),
        (lambda s: s.recommend([], exclude=range(9_999)), "no item "),
        (lambda s: s.recommend("a title"), "is one text, 'a title'; give a list"),
        (lambda s: s.recommend([7]), "7 is neither a title nor a pair"),
        (lambda s: s.recommend([(s.titles[0], 1, 2)]), "is neither a title nor a pair"),
        (lambda s: s.recommend([(s.titles[0], "much")]), "a rating is no number"),
        (lambda s: s.recommend_items([[9_999]], [[3]]), "no item 9999; .* from 0 to"),
        (lambda s: s.recommend_items([[-1]], [[3]]), "no item -1"),
        (lambda s: s.recommend_items([[2.5]], [[3]]), "no item 2.5"),
        (lambda s: s.recommend_items([[1, 2]], [[3]]), "differ in length"),
        (lambda s: s.recommend_items([[1]], []), "differ in length"),
        (lambda s: s.recommend_items([[1]], [[6]]), "is 6.0; ratings go from 1 to 5"),
        (lambda s: s.recommend_items([[1], []], [[3], []], 0), "k is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(served, call, message):
    with pytest.raises(UserError, match=message):
        call(served)


@pytest.mark.parametrize(
    ("text", "history"),
    [
        ("", []),
        (" ; ;", []),
        ("One; Two;", ["One", "Two"]),
        ("One = 2.5; Two", [("One", 2.5), "Two"]),
        ("E = mc2 = 4", [("E = mc2", 4.0)]),
        ("Two = Three", ["Two = Three"]),
    ],
)
def test_histories_are_read(text, history):
    assert parse_history(text) == history
