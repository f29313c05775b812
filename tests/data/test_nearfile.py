"""What the process that looks for near duplicates writes; how it is asked is in test_duplicates.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tunekeeper.data.nearfile import BAD_DATA, END, NO_MEMORY, PAIR, conversation_of


def run(code: str, path: Path) -> subprocess.CompletedProcess[bytes]:
    """The process with a line of code before its work."""
    before = f"import sys; from pathlib import Path; from tunekeeper.data import nearfile; {code}"
    whole = f"{before}; sys.exit(nearfile.main(Path(sys.argv[1]), 0.7, 'conversation', 'the draft'))"
    return subprocess.run([sys.executable, "-c", whole, str(path)], capture_output=True)


def talk(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def test_a_conversation_is_all_that_was_said_but_the_instructions() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}]
    assert conversation_of([*messages, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": None}]) == "u\na\n"


def test_pairs_are_followed_by_the_mark_of_the_end(write: Callable[[str, Iterable[Any]], Path]) -> None:
    done = run("pass", write("rows.jsonl", [talk("one two three"), talk("other"), talk("One, two, three.")]))
    assert (done.returncode, done.stdout, done.stderr) == (0, PAIR.pack(0, 2, 1.0) + END, b"")


def test_a_bad_row_is_one_line_of_complaint_without_a_mark(write: Callable[[str, Iterable[Any]], Path]) -> None:
    done = run("pass", write("rows.jsonl", [talk("one two three"), {"messages": None}]))
    assert (done.returncode, done.stdout) == (BAD_DATA, b"")
    assert done.stderr.startswith(b"the draft:2: not a row with messages: ")
    assert done.stderr.count(b"\n") == 1


def test_memory_is_bounded_and_too_little_is_said(write: Callable[[str, Iterable[Any]], Path]) -> None:
    path = write("rows.jsonl", [talk(" ".join(f"{i:06x}" for i in range(2_000_000)))])
    done = run("nearfile.MEMORY = 300_000_000", path)
    assert (done.returncode, done.stdout) == (NO_MEMORY, b"")
    assert done.stderr == b"the draft: it needs more than 0.3 GB of memory to look for near duplicates\n"
