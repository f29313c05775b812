"""T57: files of examples as users bring them, fed with damage steered to new lines: one clear line, or rows and reasons."""

from __future__ import annotations

import io
import json
import random
import resource
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from tests.journeys.fuzz import fuzz
from tests.journeys.rig import SECONDS, figure, say
from tunekeeper import data
from tunekeeper.cli.visible import line
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data.config import Config
from tunekeeper.data.formats import read_rows
from tunekeeper.workspace import create_workspace

SEED = 5757
IMPORTED = 3
"""Every so many readable files are taken through a whole import."""
pytestmark = pytest.mark.timeout(SECONDS)

CHAT = {"messages": [{"role": "user", "content": "Where is my card?"}, {"role": "assistant", "content": "On its way."}]}
TOOLS = {"messages": [
    {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "rain", "arguments": "{\"in\": \"Rome\"}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "no"}, {"role": "assistant", "content": "No.", "weight": 1}]}  # fmt: skip
PAIR = {"input": {"messages": CHAT["messages"][:1]}, "preferred_output": [CHAT["messages"][1]],
        "non_preferred_output": [{"role": "assistant", "content": "No idea."}]}  # fmt: skip
SHAREGPT = {"id": "s1", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}
TRACE = {"id": "t", "type": "GENERATION", "input": CHAT["messages"][:1], "output": CHAT["messages"][1], "usage": {"input": 3}}
RUN = {
    "run_type": "llm",
    "inputs": {"messages": CHAT["messages"][:1]},
    "outputs": {"choices": [{"message": CHAT["messages"][1]}]},
}
ROWS: tuple[Any, ...] = (CHAT, TOOLS, PAIR, SHAREGPT, ALPACA, TRACE, RUN)


def lined(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def book() -> bytes:
    """A small workbook."""
    made = openpyxl.Workbook()
    for row in (("question", "answer"), ("How long?", "Two days."), ("=1+1", 2.5), (None, True)):
        made.active.append(row)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


BOOK, SHEET = book(), "xl/worksheets/sheet1.xml"


def bound(sheet: bytes) -> bytes:
    """The workbook with other bytes as its sheet: of a damaged archive nothing is read but that it is damaged."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(BOOK)) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            after.writestr(name, sheet if name == SHEET else before.read(name))
    return out.getvalue()


def sheet() -> bytes:
    """What is damaged of it."""
    with zipfile.ZipFile(io.BytesIO(BOOK)) as packed:
        return packed.read(SHEET)


TABLE = pa.table({"question": ["How?", None], "answer": ["So.", "No."], "n": [[1], [2, 3]]})


def columns() -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(TABLE, out)
    return out.getvalue()


def batches() -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return out.getvalue()


FILES: dict[str, tuple[list[bytes], int]] = {
    "jsonl": ([*(lined(row) for row in ROWS), lined(*ROWS), b"\xef\xbb\xbf" + lined(CHAT), b'\n\n[1]\nnull\n"a"\n'], 250),
    "json": ([json.dumps(value).encode() for value in (list(ROWS), {"data": list(ROWS)}, CHAT, {}, [[CHAT]])], 200),
    "csv": ([
        b'question,answer\nHow?,So.\n"a ""b""\nc",d\n', b"id;Frage;Antwort\n1;Wie?;So.\n2;Was?\n", b"prompt\tcompletion\na\tb\n",
        b"\xff\xfe" + "question,answer\nWo?,Da.\n".encode("utf-16-le"), b'messages\n"[{""role"":""user""}]"\n',
    ], 300),
    "xlsx": ([sheet()], 150),
    "parquet": ([columns()], 24),
    "arrow": ([batches()], 150),
}  # fmt: skip
"""Ending of a file → what it begins with, how many inputs in the fast lane."""


@dataclass
class Import:
    """Reads a file with one ending, and takes every so many readable ones through a whole import."""

    ending: str
    folder: Path
    sound: int = 0
    """Files that could be read."""
    read: int = 0
    """Those that were imported."""

    def __post_init__(self) -> None:
        self.ws = create_workspace(self.folder / "data")

    def __call__(self, content: bytes, rng: random.Random) -> None:
        file, task, section = self.folder / f"rows.{self.ending}", Model(name="desk"), Config()
        file.write_bytes(bound(content) if self.ending == "xlsx" else content)
        told = None
        try:
            rows = sum(1 for _ in read_rows(file, {}))
            self.sound += rows > 0
            if rows and self.sound % IMPORTED == 1:
                report = data.import_files(self.ws, task, section, [file], dry_run=True)
                assert report.rows == rows, "what is read is counted, whatever becomes of it"
                assert report.added + sum(report.dropped.values()) == rows
                self.read += 1
        except TunekeeperError as error:
            told = line(str(error))  # a column may be called by two lines
        assert told is None or ("\n" not in told and "rows" in told), told


@pytest.mark.parametrize("ending", FILES)
def test_no_file_of_examples_makes_an_import_raise_what_it_does_not_document(ending: str, tmp_path: Path) -> None:
    (corpus, often), target = FILES[ending], Import(ending, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = fuzz(target, corpus, SEED, figure(often, 100 * often))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say(
        "T57",
        SEED,
        parser=f"import {ending}",
        tried=found.tried,
        kept=found.kept,
        imports=target.read,
        broken=len(found.broken),
        rss_mb=grown,
    )
    assert found.broken == []
    assert found.kept >= 2, "some inputs go where none has been"
    assert target.read >= 1, "some are imported"
    assert grown < 512
