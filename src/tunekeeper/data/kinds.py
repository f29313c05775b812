"""What a file of rows is, by its first bytes: its ending may say otherwise."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekeeper.core.errors import DataError
from tunekeeper.data.archives import nameless
from tunekeeper.data.conversations import Unreadable, parse_json
from tunekeeper.data.tables import LINE_LIMIT

_MARK = b"\xef\xbb\xbf"
_FIRST = 1 << 20
"""Bytes of the first line that are looked at."""
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"GGUF": "a GGUF model",
    b"SQLite": "a database",
}


def kind_of(path: Path) -> str:
    """`.jsonl`, `.json` or `.csv`, by how the text begins: a whole object in the first line is JSONL."""
    with path.open("rb") as file:
        head = file.readline(LINE_LIMIT).removeprefix(_MARK).lstrip()
    if head.startswith(b"{"):
        return ".jsonl" if head.rstrip().endswith(b"}") or len(head) >= LINE_LIMIT - 3 else ".json"
    return ".json" if head.startswith(b"[") else ".csv"


def held(path: Path, kind: str) -> str:
    """`.jsonl` for JSON that has a row a line, `.json` for one document, whichever its ending (`kind`) says."""
    with path.open("rb") as file:
        first = file.readline(_FIRST).removeprefix(_MARK).strip()
        alone = not file.read(4096).strip()
    if kind != ".json":
        listed = first.startswith(b"[") and not first.startswith(b"[[") and (alone or not first.endswith(b"]"))
        return ".json" if listed or first == b"{" else kind
    try:
        return ".jsonl" if first.startswith(b"{") and not alone and parse_json(first.decode()) is not None else kind
    except (Unreadable, UnicodeDecodeError):
        return kind


def inspect(path: Path, name: str, *, binary: bool = False, packed: bool = False) -> None:
    """Refuse what cannot be read as text. `binary`: what is to hold columns of Parquet or Arrow; `packed`: a workbook. Raises
    DataError."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise DataError(f"{name}: the file is empty", fix="give one that holds rows")
    if binary or (packed and head.startswith(b"PK")):
        return
    if packed:
        raise DataError(f"{name}: not an XLSX workbook, or one behind a password", fix="save it as .xlsx without one, or as .csv")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"{name}: this is {kind}, not text", fix="name it by what it is, or unpack or export it to .jsonl")


@contextmanager
def readable(path: Path, name: str) -> Iterator[Path]:
    """The file itself, or its text in UTF-8 where it is UTF-16, as Excel's *Unicode Text* and PowerShell write it. Raises
    DataError for one that is no UTF-16 after all, DiskFull."""
    with path.open("rb") as file:
        codec = _utf16(file.read(64))
        if codec is None:
            yield path
            return
        file.seek(0)
        decoder = codecs.getincrementaldecoder(codec)()
        with nameless() as (out, place):
            try:
                while piece := file.read(_FIRST):
                    out.write(decoder.decode(piece).encode())
                out.write(decoder.decode(b"", final=True).encode())
            except UnicodeError as error:
                raise DataError(f"{name}: the text is neither UTF-8 nor UTF-16: {error}", fix="save it as UTF-8") from None
            out.flush()
            yield place


def _utf16(head: bytes) -> str | None:
    """The codec of UTF-16, by its mark or by every other byte being zero; None for other text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    wide = len(head) > 3 and any(head) and not (any(head[::2]) and any(head[1::2]))
    return ("utf-16-be" if head[0] == 0 else "utf-16-le") if wide else None
