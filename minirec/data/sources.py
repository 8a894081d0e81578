"""Public data sets: what is known of each, and how they get here.

The cards are data: ``cards.toml`` beside this module. A fetched folder holds the two tables that
:func:`.load_folder` reads, the raw files as they came, and ``card.json``: the card, and what was
fetched from where and when, with hashes and counts. Chapter: 02-data.
"""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minirec._io import UserError, read_json, suggest, write_json
from minirec.data.convert import convert
from minirec.data.download import digest, download
from minirec.data.folder import load_folder, table

OVERVIEW = ("name", "domain", "rows", "users", "items", "licence", "here", "checksum")


def cards() -> dict[str, dict[str, Any]]:
    """Return all cards, by the names of the data sets; the file says what their keys are."""
    return tomllib.loads(Path(__file__).with_name("cards.toml").read_text(encoding="utf-8"))


def home(name: str) -> Path:
    """Return where a data set is looked for: ``$MINIREC_DATA/NAME``, or ``data/NAME`` if unset."""
    return Path(os.environ.get("MINIREC_DATA") or "data") / name


def record(folder: str | Path) -> dict[str, Any]:
    """Return what was recorded when a folder was fetched, or nothing."""
    path = Path(folder) / "card.json"
    return dict(read_json(path)) if path.is_file() else {}


def fetch(name: str, to: str | Path | None = None, given: str | Path | None = None) -> Path:
    """Download a data set, or take its raw files, and convert it into a folder.

    The folder appears only when it is complete. Until then everything is in a hidden one beside it,
    from which the same call goes on after an interruption. Where the card has no checksum of a raw
    file, the one recorded when it was first fetched to :func:`home` takes its place.

    Args:
        name: Of a card.
        to: The folder to make; None takes :func:`home`. If it is there and as fetched, it stays.
        given: A raw file, or a folder of raw files: they are read, and nothing is downloaded.

    Returns:
        The folder.

    Raises:
        UserError: If there is no such card, the folder is there and is something else, no mirror
            has the files with the right checksums, or the files are not as expected.
    """
    known = cards()
    if name not in known:
        raise UserError(f"no data set {name!r}.{suggest(name, known)} See `minirec data list`")
    about, target, recorded = known[name], Path(to or home(name)), record(home(name)).get("raw", {})
    if target.exists():
        if wrong := check(target) if record(target).get("name") == name else ["something else"]:
            raise UserError(f"{target} is there: {'; '.join(wrong)}; move it, or use another --to")
        return target
    hashes = {at: file["sha256"] or recorded.get(at, "") for at, file in about["files"].items()}
    staging, urls = target.with_name(f".{target.name}.fetch"), {}
    try:
        if given is None:
            for at, sha256 in hashes.items():
                urls[at] = download(about["files"][at]["urls"], staging / at, sha256)
            paths = [staging / at for at in urls]
        else:
            inside = (Path(given) / at for at in {*hashes, *about["reads"]})
            paths = [path for path in inside if path.is_file()] or [Path(given)]
        raw = {path.name: digest(path) for path in paths}
        if wrong := [at for at in raw if hashes.get(at) not in ("", None, raw[at])]:
            raise UserError(f"{wrong[0]}: SHA-256 is {raw[wrong[0]]} instead of {hashes[wrong[0]]}")
        convert(about["form"], about["reads"], paths, staging)
    except UserError as error:
        by_hand = f"{about['by_hand']}, then `minirec data fetch {name} --from FILE_OR_FOLDER`"
        raise UserError(f"{error}; by hand: {by_hand}") from error
    kept = {"name": name, "fetched": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "urls": urls}
    kept |= {"raw": raw, "tables": {path.name: digest(path) for path in staging.glob("i*.csv.gz")}}
    write_json(staging / "card.json", about | kept | counts(staging))
    os.replace(staging, target)
    return target


def check(name: str | Path) -> list[str]:
    """Compare a folder with what was recorded of it, or else with the card of its name.

    Args:
        name: Of a card, whose :func:`home` is checked, or a folder.

    Returns:
        What differs, in words: hashes of raw files and tables, and counts. Empty if nothing does.

    Raises:
        UserError: If the folder or a table is not as :func:`.load_folder` wants it.
    """
    path = home(str(name)) if name in cards() else Path(name)
    kept, found = record(path), counts(path)
    hashes = kept.get("raw", {}) | kept.get("tables", {})
    wrong = [f"{path / at}: SHA-256 is no longer {sha256}" for at, sha256 in hashes.items()
             if (path / at).is_file() and digest(path / at) != sha256]  # fmt: skip
    known = kept or cards().get(path.resolve().name, found)
    return wrong + [f"{path}: {found[unit]:,} {unit} instead of {known[unit]:,}"
                    for unit in found if found[unit] != known[unit]]  # fmt: skip


def counts(folder: str | Path) -> dict[str, int]:
    """Return the rows, users and items of a folder's log; without a log, the items it lists.

    Raises:
        UserError: If the folder or a table is not as :func:`.load_folder` wants it.
    """
    if (path := Path(folder)).is_dir() and not list(path.glob("interactions.csv*")):
        with table(path, "items") as items:
            return {"rows": 0, "users": 0, "items": len(items)}
    read = load_folder(path, k_core=0).card["steps"][0]
    return {unit: read[unit] for unit in ("rows", "users", "items")}


def overview(name: str) -> tuple[str, ...]:
    """Return what ``OVERVIEW`` names of one data set.

    ``here`` is whether it is at :func:`home`. Its ``checksum`` is ``on card`` before it is fetched,
    and then ``verified``, or ``recorded`` when it was fetched; ``unverified`` if there is none.
    """
    about, kept = cards()[name], record(home(name)).get("raw", {})
    on_card = {at: file["sha256"] for at, file in about["files"].items()}
    here, state = home(name).is_dir(), "unverified"
    if kept:
        state = "verified" if kept.items() <= on_card.items() else "recorded"
    elif all(on_card.values()) and not here:
        state = "on card"
    sizes = (f"{about[unit]:,}" for unit in ("rows", "users", "items"))
    place = "yes" if here else "no"
    return name, about["domain"], *sizes, about["licence_short"], place, state
