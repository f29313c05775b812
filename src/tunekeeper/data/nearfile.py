"""The near duplicates of a draft's file in a process of its own: `python -m tunekeeper.data.nearfile FILE THRESHOLD OF NAME`.

Writes each pair to standard output as two 8-byte places and an 8-byte similarity, at the end a pair of places -1; one line about
what went wrong to standard error. Ends when standard input does, that is with the process that started it.
"""

from __future__ import annotations

import gc
import os
import resource
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from tunekeeper.data.frames import without_frames
from tunekeeper.data.nearness import near_pairs
from tunekeeper.text.fingerprints import prompt_of, text_of

Of = Literal["conversation", "prompt"]
PAIR = struct.Struct("<qqd")
END = PAIR.pack(-1, -1, 0.0)
BAD_DATA, NO_MEMORY = 65, 71
"""Exit codes besides 0."""
MEMORY = 3_500_000_000
"""Bytes of memory that the process may ask for."""


class BadRow(Exception):
    """A line of the file is no row of ours."""


def conversation_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """What near duplicates are compared by: every message but the system's, with what it calls."""
    return "\n".join(_said(m) for m in messages if m.get("role") not in ("system", "developer"))


def _said(message: Mapping[str, Any]) -> str:
    text, calls = text_of(message.get("content")), message.get("tool_calls")
    functions = [call["function"] for call in calls or () if isinstance(call, dict) and isinstance(call.get("function"), dict)]
    return "\n".join([text, *(f"{each.get('name')} {each.get('arguments')}" for each in functions)]) if functions else text


TEXT: dict[Of, Callable[[Sequence[Mapping[str, Any]]], str]] = {"conversation": conversation_of, "prompt": prompt_of}


def texts_of(path: Path, of: Of, name: str) -> Iterator[str]:
    """The text of each row of a JSONL file of ours, as a stream. Raises BadRow naming the line that is none."""
    text = TEXT[of]
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield text(orjson.loads(line)["messages"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if "Not enough memory" in str(error):  # how orjson says it
                    raise MemoryError from None
                raise BadRow(f"{name}:{number}: not a row with messages: {error}") from None


def main(path: Path, threshold: float, of: Of, name: str) -> int:
    """Write the pairs; returns 0, or another exit code with a line on standard error."""
    _bound_memory()
    gc.disable()  # nothing here holds itself; with a million texts each look for it costs seconds
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here is for it, and each of its threads takes memory
    try:
        with open(sys.stdout.fileno(), "wb", closefd=False) as out:
            for pair in near_pairs(without_frames(texts_of(path, of, name)), threshold):
                out.write(PAIR.pack(*pair))
            out.write(END)
    except MemoryError:
        sys.stderr.write(f"{name}: it needs more than {MEMORY / 1e9:g} GB of memory to look for near duplicates\n")
        return NO_MEMORY
    except (OSError, BadRow) as error:
        sys.stderr.write(f"{error}\n")
        return BAD_DATA
    return 0


def _bound_memory() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([MEMORY, *known]), hard))


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not the buffered file: its lock would be held when Python ends
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]))  # type: ignore[arg-type]
