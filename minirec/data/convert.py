"""Raw files of public data sets -> the log and the items of a folder, as tables.

How raw files are read is data, under ``reads`` in ``cards.toml``; here is one function for each
``form`` that what was read may have. It takes the files by name and gives the log (None if there is
none) and the items, with the columns that :func:`.load_folder` reads. Cells of tables are text, so
that an id stays what it is. Chapter: 02-data.
"""

from __future__ import annotations

import ast
import gzip
import html
import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from minirec._io import UserError

Raw = dict[str, Any]
Tables = tuple[pd.DataFrame | None, pd.DataFrame]

PAIR = ["user_id", "item_id"]


def convert(form: str, reads: dict[str, Any], paths: list[Path], folder: Path) -> None:
    """Read raw files and write ``interactions.csv.gz``, if there is a log, and ``items.csv.gz``.

    The same raw files give the same tables, to the byte.

    Args:
        form: Name of a function below.
        reads: See :func:`read_raw`.
        paths: The raw files.
        folder: Where the tables go; it is made if need be.

    Raises:
        UserError: If the files are not as expected.
    """
    try:
        log, items = globals()[form](read_raw(paths, reads))
    except Exception as error:  # whatever a foreign file may cause
        raise UserError(f"the files are not as expected ({error!r})") from error
    folder.mkdir(parents=True, exist_ok=True)
    for stem, table in (("interactions", log), ("items", items)):
        if table is not None:
            packed = {"method": "gzip", "mtime": 0}
            table.to_csv(folder / f"{stem}.csv.gz", index=False, compression=packed)


def read_raw(paths: list[Path], reads: dict[str, Any]) -> Raw:
    """Read raw files: plain, gzipped (``.gz``), or members of zip archives, in whatever folder.

    Args:
        paths: Files on disk.
        reads: Name -> its ``kind``: ``json``; ``records``, a Python literal in each line, which is
            not executed; ``matrix``, whole numbers in rows; or else a table, with the options by
            which pandas reads it. Nothing else is read, or unpacked.

    Returns:
        What was read, by name; or by ``role``, which files that say the same share.
    """
    raw: Raw = {}
    for path in paths:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                inside = {PurePosixPath(member).name: member for member in archive.namelist()}
                raw |= {name: archive.read(inside[name]) for name in reads if name in inside}
        else:
            content, name = path.read_bytes(), path.name.removesuffix(".gz")
            raw[name] = content if name == path.name else gzip.decompress(content)
    return {how.get("role", at): _parse(raw[at], **how) for at, how in reads.items() if at in raw}


def movielens_csv(raw: Raw) -> Tables:
    """MovieLens since 2014: ``ratings.csv`` and ``movies.csv``; rows by user and time."""
    return _in_time(raw["ratings.csv"]), raw["movies.csv"].replace("(no genres listed)", "")


def movielens_100k(raw: Raw) -> Tables:
    """MovieLens 100K of 1998: ``u.data``, and ``u.item`` with a flag for each genre."""
    items, kinds = raw["u.item"], raw["u.item"].columns[6:]
    items["genres"] = ["|".join(kinds[row]) for row in items[kinds].to_numpy() == "1"]
    return _in_time(raw["u.data"]), items[["item_id", "title", "genres"]]


def steam_playtime(raw: Raw) -> Tables:
    """Games owned and played: Kaggle's ``steam-200k.csv``, or the three tables made from it.

    Users and games are numbered from 1 as they first appear. Repeats are merged, the most hours
    count. ``rating`` is the fifth, 1..5, in which a play's hours are among those of the game's
    players, or among all plays if they are fewer than 20; 0 = never played.
    """
    rows = raw["plays"]
    if "act" in rows:
        rows[PAIR] = rows[["account", "title"]].apply(lambda cells: pd.factorize(cells)[0] + 1)
        rows["hours"] = rows["hours"].where(rows["act"] == "play", "0")
    else:
        rows = pd.concat([rows, raw["purchases"].assign(hours="0")])
    items = ({"items": rows} | raw)["items"][["item_id", "title"]].drop_duplicates()
    rows = rows.astype({"user_id": int, "item_id": int, "hours": float})
    log = rows.groupby(PAIR, as_index=False)["hours"].max()
    hours = log["hours"].where(log["hours"] > 0)
    players = hours.groupby(log["item_id"])
    share = players.rank(pct=True).where(players.transform("count") >= 20)
    log["rating"] = np.ceil(5 * share.fillna(hours.rank(pct=True))).fillna(0).astype(int)
    return log.sort_values(["user_id", "hours"], ascending=[True, False]), items


def steam_reviews(raw: Raw) -> Tables:
    """Reviews by Australian users, and the store's own table of games.

    Names of accounts become running numbers, and texts are left out. Of a repeated pair the first
    counts; reviews of games that the store's table lacks are left out. ``timestamp`` is the day in
    seconds, at 0:00 UTC; it is blank where the store printed no year, as in the running one.
    """
    items = pd.DataFrame(raw["steam_games.json"]).rename(columns={"id": "item_id"})
    items["title"] = items["title"].fillna(items["app_name"]).map(html.unescape, na_action="ignore")
    items["genres"] = items["genres"].str.join("|")
    items = items[["item_id", "title", "genres"]].dropna(subset=["item_id", "title"])
    users = raw["australian_user_reviews.json"]
    log = pd.DataFrame([{**user, **row} for user in users for row in user["reviews"]])
    log = log[log["item_id"].isin(items["item_id"])].drop_duplicates(PAIR)
    days = pd.to_datetime(log["posted"], format="Posted %B %d, %Y.", errors="coerce")
    log["timestamp"] = ((days - pd.Timestamp(0)) // pd.Timedelta(seconds=1)).astype("Int64")
    log["user_id"], log["rating"] = pd.factorize(log["user_id"])[0], log["recommend"].astype(int)
    items = items[items["item_id"].isin(log["item_id"])].drop_duplicates("item_id")
    return _in_time(log[[*PAIR, "rating", "timestamp"]]), items


def billp_sequences(raw: Raw) -> Tables:
    """BiLLP's books: titles as users read them, their ids, and their shelves.

    Each row is a like (``rating`` 1) at a ``position``, 0 for a user's first. Entities, blanks and
    commas around titles are tidied.
    """
    ids, shelves = raw["datamaps.json"]["item2id_dict"], raw["list_genre.json"]
    items = pd.DataFrame({"item_id": ids.values()})
    items["title"] = [" ".join(html.unescape(title).split()).strip(" ,") for title in ids]
    items["genres"] = ["|".join(ast.literal_eval(shelves.get(title, "[]"))) for title in ids]
    rows = [(user["userid_encoded"], ids[title], 1, position) for user in raw["test.json"]
            for position, title in enumerate(user["pos_seq_name"])]  # fmt: skip
    return pd.DataFrame(rows, columns=[*PAIR, "rating", "position"]), items


def anime(raw: Raw) -> Tables:
    """Ratings and watch lists: Kaggle's two tables, or the three of 5,000 of its users.

    A blank rating is a work that was watched and not rated. The genre "Hentai" is left out.
    """
    log, items = raw["ratings"].replace({"rating": {"-1": ""}}), raw["items"]
    if "watched" in raw:
        log = raw["watched"][PAIR].merge(log, "left")
    items["title"] = items["title"].map(html.unescape)
    items["genres"] = items["genres"].str.replace(", ", "|")
    items = items[~items["genres"].str.contains("Hentai")]
    return log[log["item_id"].isin(items["item_id"])], items


def coat(raw: Raw) -> Tables:
    """Coats: two matrices of ratings, users in rows, and flags of the items.

    ``split`` says whether people chose what they rated. The titles are composed of the features.
    """
    rows = [(*pair, raw[name][tuple(pair)], split)
            for split, name in (("self-selected", "train.ascii"), ("random", "test.ascii"))
            for pair in np.argwhere(raw[name])]  # fmt: skip
    names = raw["item_features_map.txt"].to_numpy()
    items = pd.DataFrame([dict(names[flags == 1]) for flags in raw["item_features.ascii"]])
    words = items["gender"] + "'s " + items["color"] + " " + items["jackettype"] + " jacket"
    items["title"], items["item_id"] = words.str.replace(" other", ""), items.index
    return pd.DataFrame(rows, columns=[*PAIR, "rating", "split"]), items


def goodbooks(raw: Raw) -> Tables:
    """Goodbooks: ``books.csv``, and ``ratings.csv`` where that is there as well."""
    names = {"book_id": "item_id", "authors": "author", "original_publication_year": "year"}
    items = raw["books.csv"].rename(columns=names)
    return raw.get("ratings.csv"), items[["item_id", "title", "author", "year"]]


def _parse(content: bytes, kind: str = "table", role: str = "", **options: Any) -> Any:
    """Turn the content of a file into what its kind says."""
    if kind == "json":
        return json.loads(content)
    if kind == "records":
        return [ast.literal_eval(line) for line in content.decode().split("\n") if line]
    if kind == "matrix":
        return np.loadtxt(io.BytesIO(content), dtype=int, ndmin=2)
    return pd.read_csv(io.BytesIO(content), dtype=str, na_filter=False, index_col=False, **options)


def _in_time(log: pd.DataFrame) -> pd.DataFrame:
    """Sort by user and time, both numbers; rows without a time come last."""
    return log.sort_values(["user_id", "timestamp"], key=pd.to_numeric)
