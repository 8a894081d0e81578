"""Public data sets: downloads that survive a bad network, converters, and what `check` finds."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minirec import cli
from minirec._io import UserError
from minirec.data import convert, sources
from minirec.data.catalogue import Catalogue
from minirec.data.download import TRIES, digest, download
from minirec.data.folder import load_folder

BODY = bytes(range(256)) * 2000  # half a megabyte
CUT = 100_000


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; each path can be cut off, ignore ranges, or give another file later."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, int] = {}  # path -> how many replies are cut off
        self.ranges = True
        self.marks = True
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, path = self.server, self.path[1:]
        server.asked.append((path, self.headers["Range"]))
        if path not in server.files:
            self.send_error(404)
            return
        body = server.files[path]
        mark = f'"{hash(body)}"'
        begin = 0
        if self.headers["Range"] and server.ranges and self.headers["If-Range"] == mark:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body) - begin))
        if server.marks:
            self.send_header("ETag", mark)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        end = len(body)
        if server.cuts.get(path, 0):
            server.cuts[path] -= 1
            end = begin + CUT
            self.close_connection = True
        server.sent += end - begin
        self.wfile.write(body[begin:end])

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sha256(content: bytes, folder: Path) -> str:
    (folder / "hashed").write_bytes(content)
    return digest(folder / "hashed")


# One file


def test_a_file_is_downloaded_whole(server, tmp_path):
    server.files["a"] = BODY
    url = download([server.url("a")], tmp_path / "to" / "a", sha256(BODY, tmp_path))
    assert url == server.url("a")
    assert (tmp_path / "to" / "a").read_bytes() == BODY
    assert server.asked == [("a", None)]
    assert download([server.url("a")], tmp_path / "to" / "a") == url, "what is there is kept"
    assert len(server.asked) == 1


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.files["a"], server.cuts["a"] = BODY, 2
    download([server.url("a")], tmp_path / "a", sha256(BODY, tmp_path))
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.asked == [("a", None), ("a", f"bytes={CUT}-"), ("a", f"bytes={2 * CUT}-")]
    assert server.sent == len(BODY), "only the rest was sent again"


def test_what_arrived_before_a_crash_is_kept(server, tmp_path, monkeypatch):
    server.files["a"] = BODY
    replace = os.replace

    def killed(*paths: Any) -> None:
        if Path(paths[1]) == tmp_path / "a":
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):  # when all of it is there, and not yet checked
        download([server.url("a")], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    monkeypatch.undo()
    download([server.url("a")], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_download_killed_midway_goes_on(server, tmp_path):
    server.files["a"], server.cuts["a"] = BODY, TRIES
    with pytest.raises(UserError, match=r"/a: \w+"):
        download([server.url("a")], tmp_path / "a")
    assert len(server.asked) == TRIES, "tries are limited"
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "a.part").stat().st_size == TRIES * CUT
    download([server.url("a")], tmp_path / "a")
    assert server.asked[-1] == ("a", f"bytes={TRIES * CUT}-")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.sent == len(BODY)


@pytest.mark.parametrize("which", ["ranges", "marks"])
def test_a_server_that_cannot_resume_starts_anew(server, tmp_path, which):
    server.files["a"], server.cuts["a"] = BODY, 1
    setattr(server, which, False)
    download([server.url("a")], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.sent == CUT + len(BODY)


def test_a_changed_file_starts_anew(server, tmp_path):
    server.files["a"], server.cuts["a"] = BODY, TRIES
    with pytest.raises(UserError):
        download([server.url("a")], tmp_path / "a")
    server.files["a"] = BODY[::-1]
    download([server.url("a")], tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY[::-1]


def test_the_part_of_one_mirror_is_no_part_of_another(server, tmp_path):
    server.files |= {"a": BODY, "b": BODY[::-1]}
    server.cuts["a"] = TRIES
    assert download([server.url("a"), server.url("b")], tmp_path / "a") == server.url("b")
    assert (tmp_path / "a").read_bytes() == BODY[::-1]
    assert server.asked[-1] == ("b", None)


def test_wrong_bytes_are_refused_and_the_next_mirror_is_tried(server, tmp_path):
    server.files |= {"bad": BODY[:-1], "good": BODY}
    urls = [server.url(name) for name in ("none", "bad", "good")]
    assert download(urls, tmp_path / "a", sha256(BODY, tmp_path)) == urls[2]
    assert [path for path, _ in server.asked] == ["none", "bad", "good"]
    assert (tmp_path / "a").read_bytes() == BODY


def test_wrong_bytes_everywhere_leave_nothing(server, tmp_path):
    server.files["bad"] = BODY[:-1]
    with pytest.raises(UserError, match=r"404.*SHA-256 is .* instead of") as refusal:
        download([server.url("none"), server.url("bad")], tmp_path / "a", sha256(BODY, tmp_path))
    assert "\n" not in str(refusal.value)
    assert {path.name for path in tmp_path.iterdir()} == {"hashed", "a.json"}, "only its note"


# One data set

RATINGS = "userId,movieId,rating,timestamp\n2,10,4.0,50\n1,20,0.5,30\n1,10,5.0,20\n"
MOVIES = 'movieId,title,genres\n10,"Big, The (1990)",Drama|War\n20,NA (2001),(no genres listed)\n'


def packed(**members: str | bytes) -> bytes:
    """Return a zip archive with these members in a folder, and one that nobody asked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"folder/{name}", content)
        archive.writestr("../../evil", "evil")
    return buffer.getvalue()


FILMS = packed(**{"ratings.csv": RATINGS, "movies.csv": MOVIES})


@pytest.fixture
def films(server, tmp_path, monkeypatch) -> Path:
    """A card for films on the server, in an empty working folder; where they will be."""
    card = dict(sources.cards()["movielens-latest-small"])
    card["files"] = {"films.zip": {"urls": [server.url("films.zip")], "sha256": ""}}
    server.files["films.zip"] = FILMS
    known = {"films": card, "other": card}
    monkeypatch.setattr(sources, "cards", lambda: known)
    monkeypatch.delenv("MINIREC_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return Path("data/films")


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert cli.main(["data", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    lines = printed.err if code else printed.out
    assert code == 0 or len(lines.splitlines()) == 1, lines
    return lines


def test_fetch_makes_a_folder_that_loads_and_checks(films, server, capsys):
    assert "3 rows, 2 users, 2 items; licence: GroupLens" in said(capsys, "fetch", "films")
    names = {"films.zip", "films.zip.json", "interactions.csv.gz", "items.csv.gz", "card.json"}
    assert {path.name for path in films.iterdir()} == names
    assert [path.name for path in films.parent.iterdir()] == ["films"]
    record = json.loads((films / "card.json").read_text())
    assert record["urls"] == {"films.zip": server.url("films.zip")}
    assert record["raw"] == {"films.zip": digest(films / "films.zip")}
    assert set(record["tables"]) == {"interactions.csv.gz", "items.csv.gz"}
    assert record["cite"] == "Harper and Konstan 2015"
    assert load_folder(films, k_core=0).catalogue.titles == ("Big, The (1990)", "NA (2001)")
    assert "nothing differs" in said(capsys, "check", "films")
    assert "nothing differs" in said(capsys, "check", films)


def test_fetch_again_downloads_nothing(films, server):
    before, after = (sources.fetch("films").stat() for _ in range(2))
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)  # not atime
    assert len(server.asked) == 1


def test_the_same_raw_files_give_the_same_tables(films):
    assert digest(sources.fetch("films") / "items.csv.gz") == digest(
        sources.fetch("films", to="again") / "items.csv.gz"
    )


def test_checksums_are_recorded_first_and_compared_later(films, server, capsys):
    said(capsys, "fetch", "films")
    assert sources.overview("films")[-2:] == ("yes", "recorded")
    server.files["films.zip"] = FILMS + b" "
    assert "SHA-256 is" in said(capsys, "fetch", "films", "--to", "anew", code=2)
    assert not Path("anew").exists()


def test_what_is_not_there_has_a_checksum_on_its_card_or_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIREC_DATA", str(tmp_path))
    shown = {name: sources.overview(name)[-2:] for name in ("movielens-100k", "coat")}
    assert shown == {"movielens-100k": ("no", "on card"), "coat": ("no", "unverified")}


def test_a_checksum_on_the_card_is_verified(films, server, capsys):
    card = sources.cards()["films"]["files"]["films.zip"]
    card["sha256"] = "0" * 64
    message = said(capsys, "fetch", "films", code=2)
    assert "instead of 0000" in message
    assert not films.exists()
    server.files["films.zip"] = FILMS
    card["sha256"] = sha256(FILMS, Path())
    said(capsys, "fetch", "films")
    assert sources.overview("films")[-2:] == ("yes", "verified")


def test_check_finds_what_was_changed(films, capsys):
    said(capsys, "fetch", "films")
    table = films / "interactions.csv.gz"
    lines = gzip.decompress(table.read_bytes()).splitlines(keepends=True)
    table.write_bytes(gzip.compress(b"".join(lines[:-1])))
    message = said(capsys, "check", "films", code=2)
    assert "interactions.csv.gz: SHA-256 is no longer" in message
    assert "2 rows instead of 3" in message
    table.write_bytes(b"damaged")
    assert "damaged or not gzip" in said(capsys, "check", "films", code=2)
    assert "damaged or not gzip" in said(capsys, "fetch", "films", code=2), "not overwritten"


def test_a_folder_that_is_something_else_is_refused(films, capsys):
    films.mkdir(parents=True)
    (films / "mine.csv").write_text("x")
    assert "something else" in said(capsys, "fetch", "films", code=2)
    assert [path.name for path in films.iterdir()] == ["mine.csv"]
    said(capsys, "fetch", "other")
    assert "something else" in said(capsys, "fetch", "films", "--to", "data/other", code=2)


def test_no_mirror_at_all_says_how_to_go_on_by_hand(films, server, capsys):
    server.files.clear()
    message = said(capsys, "fetch", "films", code=2)
    assert "404" in message
    assert "get ml-latest-small.zip from https://grouplens.org" in message
    assert "`minirec data fetch films --from FILE_OR_FOLDER`" in message
    assert not films.exists()


def test_a_card_without_mirrors_is_by_hand(films, server, capsys):
    sources.cards()["films"]["files"]["films.zip"]["urls"] = []
    assert "by hand: get" in said(capsys, "fetch", "films", code=2)
    assert not server.asked


@pytest.mark.parametrize("as_folder", [False, True])
def test_files_at_hand_are_taken(films, server, capsys, as_folder):
    at_hand = Path("downloads")
    at_hand.mkdir()
    (at_hand / "notes.txt").write_text("not asked for")
    if as_folder:
        (at_hand / "ratings.csv").write_text(RATINGS)
        (at_hand / "movies.csv").write_text(MOVIES)
    else:
        (at_hand / "films.zip").write_bytes(FILMS)
    given = at_hand if as_folder else at_hand / "films.zip"
    said(capsys, "fetch", "films", "--from", given)
    assert not server.asked
    assert "nothing differs" in said(capsys, "check", "films")
    assert not Path("../evil").exists()


def test_wrong_files_at_hand_are_named(films, capsys):
    Path("empty").mkdir()
    Path("films.zip").write_bytes(FILMS[:-40])
    Path("old.zip").write_bytes(packed(**{"ratings.csv": RATINGS}))
    assert "BadZipFile" in said(capsys, "fetch", "films", "--from", "films.zip", code=2)
    assert "'movies.csv'" in said(capsys, "fetch", "films", "--from", "old.zip", code=2)
    assert "empty" in said(capsys, "fetch", "films", "--from", "empty", code=2)
    assert "nowhere" in said(capsys, "fetch", "films", "--from", "nowhere", code=2)
    sources.cards()["films"]["files"]["films.zip"]["sha256"] = "0" * 64
    assert "instead of 000" in said(capsys, "fetch", "films", "--from", "films.zip", code=2)
    assert not films.exists()


def test_an_unknown_name_gets_a_suggestion(films, capsys):
    assert "Did you mean 'films'?" in said(capsys, "fetch", "flims", code=2)
    assert "no such folder: flims" in said(capsys, "check", "flims", code=2)


def test_ctrl_c_says_how_to_go_on(films, capsys, monkeypatch):
    def stopped(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "download", stopped)
    assert "the same command goes on" in said(capsys, "fetch", "films", code=130)


def test_minirec_data_is_where_they_land(films, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIREC_DATA", str(tmp_path / "here"))
    assert sources.fetch("films") == tmp_path / "here/films"


# The cards


def test_cards_are_complete(capsys):
    known = sources.cards()
    keys = known["coat"].keys()
    for name, card in known.items():
        assert card.keys() == keys, name
        assert callable(getattr(convert, card["form"]))
        for file in card["files"].values():
            assert all(url.startswith("https://") for url in file["urls"])
            assert file["sha256"] == "" or len(file["sha256"]) == 64
    listed = said(capsys, "list")
    assert all(name in listed for name in known)
    assert "licence" in listed.splitlines()[0]


# The converters: tiny files in the form of each origin


def made(tmp_path: Path, name: str, **files: str | bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Convert files and read the tables back as text."""
    card = sources.cards()[name]
    for file, content in files.items():
        (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    paths = sorted(path for path in tmp_path.iterdir() if path.name != "hashed")
    convert.convert(card["form"], card["reads"], paths, tmp_path / "made")
    written = sorted((tmp_path / "made").iterdir())
    read = [pd.read_csv(path, dtype=str, na_filter=False) for path in written]
    return (pd.DataFrame(), read[0]) if len(read) == 1 else (read[0], read[1])


def rows(frame: pd.DataFrame) -> list[str]:
    return [",".join(row) for row in frame.to_numpy()]


def test_movielens_csv(tmp_path):
    files = {"ratings.csv": RATINGS, "movies.csv": MOVIES}
    log, items = made(tmp_path, "movielens-latest-small", **files)
    assert rows(log) == ["1,10,5.0,20", "1,20,0.5,30", "2,10,4.0,50"]
    assert items["genres"].tolist() == ["Drama|War", ""]
    assert items["title"].tolist() == ["Big, The (1990)", "NA (2001)"]


def test_movielens_100k(tmp_path):
    def film(number: int, title: str, *genres: int) -> str:
        flags = "|".join(str(int(k in genres)) for k in range(19))
        return f"{number}|{title}|01-Jan-1995||http://x|{flags}\n"

    films = (film(7, 'Caf\xe9 "X" (1995)', 1, 18) + film(9, "unknown", 0)).encode("latin-1")
    files = {"u.data": "2\t9\t3\t200\n10\t7\t1\t5\n2\t7\t5\t100\n", "u.item": films}
    log, items = made(tmp_path, "movielens-100k", **files)
    assert rows(log) == ["2,7,5,100", "2,9,3,200", "10,7,1,5"]
    assert rows(items) == ['7,Caf\xe9 "X" (1995),Action|Western', "9,unknown,"]


def test_steam_playtime_ranks_hours_within_games_that_many_play(tmp_path):
    played = [(user, "Many", hour) for user, hour in enumerate(range(1, 26), 1)]
    played += [(1, '"Few, the"', 2), (2, '"Few, the"', 100)]
    lines = [f"{user},{title},purchase,1.0,0\n{user},{title},play,{hours},0\n"
             for user, title, hours in played]  # fmt: skip
    kaggle = "".join(lines) + "1,Many,play,0.5,0\n2,Never,purchase,1.0,0\n"
    log, items = made(tmp_path, "steam-playtime", **{"steam-200k.csv": kaggle})
    assert rows(items) == ["1,Many", "2,Few, the", "3,Never"]
    many = log[log["item_id"] == "1"]
    expected = {str(user): str(-(-user // 5)) for user in range(1, 26)}
    assert dict(zip(many["user_id"], many["rating"], strict=True)) == expected
    few = log[log["item_id"] == "2"]
    assert few["rating"].tolist() == ["1", "5"]  # among all 27 plays
    assert log[log["item_id"] == "3"]["rating"].tolist() == ["0"]
    assert log["hours"].astype(float).tolist()[:2] == [2, 1]  # by user, most hours first
    assert len(log) == 28


def test_steam_playtime_from_its_three_tables_is_the_same(tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    one.mkdir()
    three.mkdir()
    bought = ("77,A B", "12,A B", "12,C")
    kaggle = "".join(f"{pair},purchase,1.0,0\n" for pair in bought) + "77,A B,play,3.5,0\n"
    expected = made(one, "steam-playtime", **{"steam-200k.csv": kaggle})
    found = made(three, "steam-playtime", **{
        "game_purchase.dat": "User_ID\tGame_ID\tPurchase\n1\t1\t1\n2\t1\t1\n2\t2\t1\n",
        "game_play.dat": "User_ID\tGame_ID\tHours\n1\t1\t3.5\n",
        "item_info.dat": "Game_ID\tGame Name\n1\tA B\n2\tC\n",
    })  # fmt: skip
    assert [rows(table) for table in found] == [rows(table) for table in expected]


GAMES = [
    {"id": "10", "app_name": "Tom &amp; I", "title": "Tom &amp; I", "genres": ["Action", "Indie"]},
    {"id": "20", "app_name": "Only app", "genres": ["RPG"]},
    {"id": "30", "app_name": "Nobody", "title": "Nobody"},
    {"app_name": "no id"},
]


def review(item: str, liked: bool, posted: str) -> dict[str, Any]:
    return {"funny": "", "posted": posted, "item_id": item, "recommend": liked, "review": "it's ok"}


def test_steam_reviews(tmp_path):
    users: list[dict[str, Any]] = [
        {"user_id": "zed", "user_url": "u", "reviews": [
            review("20", False, "Posted July 1."), review("10", True, "Posted November 5, 2011."),
            review("10", False, "Posted May 5, 2012."), review("99", True, "Posted May 5, 2012.")]},
        {"user_id": "none", "user_url": "u", "reviews": []},
        {"user_id": "amy", "user_url": "u", "reviews": [review("20", True, "Posted May 1, 2014.")]},
    ]  # fmt: skip
    files = {
        "steam_games.json.gz": gzip.compress("".join(f"{game!r}\n" for game in GAMES).encode()),
        "australian_user_reviews.json": "".join(f"{user!r}\n" for user in users),
    }
    log, items = made(tmp_path, "steam-reviews", **files)
    assert rows(log) == ["0,10,1,1320451200", "0,20,0,", "1,20,1,1398902400"]
    assert rows(items) == ["10,Tom & I,Action|Indie", "20,Only app,RPG"]


def test_lines_are_never_executed(tmp_path):
    evil = "__import__('os').mkdir('evil')\n"
    files = {"steam_games.json": evil, "australian_user_reviews.json": ""}
    with pytest.raises(UserError, match="not as expected"):
        made(tmp_path, "steam-reviews", **files)
    assert not Path("evil").exists()


def test_billp_sequences(tmp_path):
    titles = {"Icebound": 0, "Forever  War, ": 1, "Caf&eacute;": 2}
    maps = {"item2id_dict": titles, "id2item_dict": {str(i): t for t, i in titles.items()}}
    users = [{"userid_encoded": 21, "pos_seq_name": ["Caf&eacute;", "Icebound", "Caf&eacute;"]}]
    genres = {"Icebound": "['Mystery, Thriller', \"Women's\"]", "Caf&eacute;": "[]"}
    files = {"test.json": users, "datamaps.json": maps, "list_genre.json": genres}
    log, items = made(tmp_path, "amazon-books", **{k: json.dumps(v) for k, v in files.items()})
    assert rows(log) == ["21,2,1,0", "21,0,1,1", "21,2,1,2"]
    assert rows(items) == ["0,Icebound,Mystery, Thriller|Women's", "1,Forever War,", "2,Caf\xe9,"]


def test_anime_from_kaggle(tmp_path):
    head = "anime_id,name,genre,type,episodes,rating,members\n"
    about = head + '1,Up &amp; Down,"Drama, School",TV,12,7.5,100\n2,X,"Hentai",OVA,1,6,5\n'
    ratings = "user_id,anime_id,rating\n5,1,-1\n6,1,9\n6,2,10\n"
    log, items = made(tmp_path, "anime", **{"anime.csv": about, "rating.csv": ratings})
    assert rows(log) == ["5,1,", "6,1,9"]
    assert rows(items) == ["1,Up & Down,Drama|School,TV,12,7.5,100"]


def test_anime_from_the_sample(tmp_path):
    log, items = made(tmp_path, "anime", **{
        "anime_history.dat": "User_ID\tAnime_ID\tFeedback\n5\t1\t1\n6\t1\t1\n",
        "anime_ratings.dat": "User_ID\tAnime_ID\tFeedback\n6\t1\t9\n",
        "anime_info.dat": "anime_ids\tname\tgenre\ttype\tepisodes\trating\tmembers\n"
        '1\tThe "X"\tDrama, School\tTV\t12\t7.5\t100\n',
    })  # fmt: skip
    assert rows(log) == ["5,1,", "6,1,9"]
    assert items["title"].tolist() == ['The "X"']


def test_coat(tmp_path):
    names = "gender:men\ngender:women\njackettype:rain\njackettype:other\ncolor:red\ncolor:other"
    log, items = made(tmp_path, "coat", **{
        "train.ascii": "0 5 \n3 0 \n", "test.ascii": "1 0 \n0 0 \n",
        "item_features.ascii": "1 0 1 0 1 0\n0 1 0 1 0 1\n", "item_features_map.txt": names,
    })  # fmt: skip
    assert rows(log) == ["0,1,5,self-selected", "1,0,3,self-selected", "0,0,1,random"]
    assert items["title"].tolist() == ["men's red rain jacket", "women's jacket"]
    assert items["item_id"].tolist() == ["0", "1"]


def test_goodbooks_with_and_without_ratings(tmp_path, monkeypatch):
    books = (
        "book_id,goodreads_book_id,authors,original_publication_year,original_title,title\n"
        '1,99,"A, B",-720.0,Ili,"Iliad, The"\n2,98,C,,,None\n'
    )
    log, items = made(tmp_path, "goodbooks-10k", **{"books.csv": books})
    assert log.empty
    assert rows(items) == ["1,Iliad, The,A, B,-720.0", "2,None,C,"]
    assert Catalogue.from_frame(items).years.tolist() == [-720, 0]
    assert sources.counts(tmp_path / "made") == {"rows": 0, "users": 0, "items": 2}
    (tmp_path / "ratings.csv").write_text("user_id,book_id,rating\n7,2,5\n")
    monkeypatch.chdir(tmp_path)
    folder = sources.fetch("goodbooks-10k", to=tmp_path / "with", given=tmp_path)
    assert sources.counts(folder) == {"rows": 1, "users": 1, "items": 1}


# Data folders that are there already


def real(name: str) -> Path:
    root = os.environ.get("MINIREC_DATA")
    if not root or not (Path(root) / name).is_dir():
        pytest.skip(f"MINIREC_DATA has no folder {name}")
    return Path(root) / name


@pytest.mark.parametrize("name", sources.cards())
def test_counts_are_those_of_the_card(name):
    assert sources.check(real(name)) == []


def test_hours_are_ranked_as_in_the_folder_that_the_book_used(tmp_path):
    folder = real("steam-playtime")
    used = pd.read_csv(folder / "interactions.csv.gz")
    plays = used[used["hours"] > 0]
    files = {"game_purchase.dat": used.assign(bought=1)[["user_id", "item_id", "bought"]],
             "game_play.dat": plays[["user_id", "item_id", "hours"]],
             "item_info.dat": pd.DataFrame({"item_id": [1], "title": ["x"]})}  # fmt: skip
    texts = {name: table.to_csv(sep="\t", index=False) for name, table in files.items()}
    log, _ = made(tmp_path, "steam-playtime", **texts)
    both = log.astype(float).merge(used, on=["user_id", "item_id"])
    assert len(both) == len(used)
    np.testing.assert_array_equal(both["rating_x"], both["rating_y"])


def test_sequences_become_the_folder_that_the_book_used(tmp_path):
    folder, maps = real("amazon-books"), real("llm-demos") / "amazon/env"
    files = {f"{name}.json.gz": (maps / f"{name}.json.gz").read_bytes()
             for name in ("datamaps", "list_genre")}  # fmt: skip
    titles = json.loads(gzip.decompress(files["datamaps.json.gz"]))["id2item_dict"]
    used = [pd.read_csv(folder / f"{stem}.csv.gz", dtype=str, na_filter=False)
            for stem in ("interactions", "items")]  # fmt: skip
    users = [
        {"userid_encoded": user, "pos_seq_name": [titles[item] for item in rows["item_id"]]}
        for user, rows in used[0].groupby("user_id", sort=False)
    ]
    log, items = made(tmp_path, "amazon-books", **{"test.json": json.dumps(users)}, **files)
    pd.testing.assert_frame_equal(log, used[0])
    pd.testing.assert_frame_equal(items, used[1][["item_id", "title", "genres"]])
