from __future__ import annotations

import pytest

from conftest import BUNDLED, needs_bundled
from minirec._io import UserError
from minirec.serve import Recommender, parse_history


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
