"""One file from one of its mirrors: resumed where it was cut off, and checked. Chapter: 02-data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from minirec._io import UserError, progress, read_json, write_json

TRIES = 4
"""How often one mirror is asked; each time goes on where the last was cut off."""


def digest(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(urls: Iterable[str], path: Path, sha256: str = "") -> str:
    """Fetch a file from the first mirror that has it whole and right.

    What has arrived is kept in ``path`` + ``.part`` until it is whole, also after Ctrl-C or a
    crash, and the next call goes on from there. ``path`` itself appears only when all is there,
    and ``path`` + ``.json`` says where it came from. A file that is there and right is kept.

    Args:
        urls: Mirrors, in the order in which they are tried.
        path: Where the file goes.
        sha256: What its SHA-256 has to be; "" takes any.

    Returns:
        The mirror that it came from.

    Raises:
        UserError: If no mirror has it; the message says what each of them answered.
    """
    part, note = (path.with_name(path.name + suffix) for suffix in (".part", ".json"))
    if path.is_file() and note.is_file() and sha256 in ("", digest(path)):
        return str(read_json(note)["url"])
    answers = {}
    for url in urls:
        for _ in range(TRIES):
            try:
                _receive(url, part, note)
                if sha256 in ("", found := digest(part)):
                    os.replace(part, path)
                    return url
                answers[url] = f"SHA-256 is {found} instead of {sha256}"
                part.unlink()
                break
            except (HTTPException, OSError) as error:
                answers[url] = str(error)
                if isinstance(error, HTTPError):  # it has answered, and holds on to its socket
                    error.close()
                    break
    raise UserError("; ".join(f"{url}: {answer}" for url, answer in answers.items()))


def _receive(url: str, part: Path, note: Path) -> None:
    """Fetch what ``part`` lacks.

    ``note`` remembers whose part it is: the mirror, the size, and the mark (ETag or date) by which
    the server tells that its file is still the same. If it is not, or if the server cannot send
    the rest of a file, all of it is fetched anew.

    Raises:
        OSError: If it was cut off, like anything else that the network does.
    """
    known = read_json(note) if part.is_file() and note.is_file() else {}
    begin = part.stat().st_size if known.get("url") == url and known["mark"] else 0
    if begin and begin == known["size"]:
        return
    rest = {"Range": f"bytes={begin}-", "If-Range": known["mark"]} if begin else {}
    headers = {"User-Agent": "minirec"} | rest
    with urlopen(Request(url, headers=headers), timeout=30) as reply:
        begin = begin if reply.status == 206 else 0
        size = begin + int(reply.headers.get("Content-Length", 0))
        if not begin:
            part.unlink(missing_ok=True)
            mark = reply.headers.get("ETag") or reply.headers.get("Last-Modified", "")
            write_json(note, {"url": url, "size": size, "mark": mark})
        with part.open("ab") as file, progress(size, part.stem) as advance:
            advance(begin)
            while chunk := reply.read(1 << 16):
                file.write(chunk)
                advance(len(chunk))
    if part.stat().st_size < size:
        raise OSError("cut off again and again")
