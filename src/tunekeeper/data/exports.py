"""Export: rows of a version in the shapes other tools read. The same version always gives the same bytes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from tunekeeper.core.errors import DataError, MissingExtra, UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.data import drafts
from tunekeeper.data.balance import topics
from tunekeeper.data.versions import read_examples, resolve
from tunekeeper.text.fingerprints import answer_of, text_of
from tunekeeper.workspace import Workspace

Side = Literal["train", "eval", "all"]
_SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system", "developer": "system", "tool": "observation"}


def export(ws: Workspace, name: str, format: str, split: str, out: Path, *, model: str | None = None) -> int:
    """Write a version (an id, or `latest` or `draft` of `model`) to `out`; returns the number of rows.

    `format`: openai, sharegpt, alpaca, dpo, parquet, hf (a folder). `split`: train, eval or all. Raises UserError for another
    name, DataError when the format cannot hold a row, NotFound for an unknown version.
    """
    if format not in FORMATS:
        raise UserError(f"no format is called {format!r}", fix=f"--format {'|'.join(FORMATS)}")
    if split not in ("train", "eval", "all"):
        raise UserError(f"no split is called {split!r}", fix="--split train|eval|all")
    version = None if name == "draft" else resolve(ws, name, model)
    rows = _draft(ws, model) if version is None else read_examples(ws, version)
    examples = [e for e in rows if split in ("all", e.split)]
    if not examples:
        raise DataError(
            f"{name} has no rows on the {split} side", fix=f"tunekeeper data ls --model {model or name.split('/')[0]}"
        )
    return _hf(examples, out, version) if format == "hf" else FORMATS[format](examples, out)


def _draft(ws: Workspace, model: str | None) -> list[Example]:
    if model is None:
        raise UserError("which model's draft?", fix="add --model MODEL")
    return drafts.load_draft(ws, model)


def _jsonl(shape: Callable[[Example], dict[str, Any] | None]) -> Callable[[Sequence[Example], Path], int]:
    def write(examples: Sequence[Example], out: Path) -> int:
        rows = [row for row in map(shape, examples) if row is not None]
        if not rows:
            raise DataError("no row has a rejected answer beside the good one", fix="export with --format openai")
        drafts.write_whole(out, (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
        return len(rows)

    return write


def openai_row(example: Example) -> dict[str, Any]:
    """`messages`, `tools` where there are any, and our provenance under `metadata`, which other trainers ignore."""
    row: dict[str, Any] = {"messages": list(example.messages)}
    if example.tools:
        row["tools"] = list(example.tools)
    if example.weight != 1.0:
        row["weight"] = example.weight
    return row | {"metadata": {**example.metadata, "id": example.id}}


def sharegpt_row(example: Example) -> dict[str, Any]:
    """`conversations` with `from` and `value`; a call of a tool becomes a turn of `function_call`."""
    turns = []
    for message in example.messages:
        for call in message.get("tool_calls") or ():
            turns.append({"from": "function_call", "value": orjson.dumps(call.get("function", call)).decode()})
        if message.get("content") is not None:
            turns.append({"from": _SHAREGPT.get(str(message.get("role")), "human"), "value": text_of(message["content"])})
    row: dict[str, Any] = {"conversations": turns}
    if example.tools:
        row["tools"] = orjson.dumps(list(example.tools)).decode()
    return row | {"id": example.id}


def alpaca_row(example: Example) -> dict[str, Any]:
    """`instruction`, `input`, `output`, with `system` and `history` where there are any. Raises DataError for calls of tools."""
    talk = [m for m in example.messages if m.get("role") not in ("system", "developer")]
    if any(m.get("role") not in ("user", "assistant") or m.get("tool_calls") for m in talk):
        raise DataError(
            f"row {example.id}: Alpaca has no place for calls of tools", fix="export with --format openai or sharegpt"
        )
    texts = [text_of(m.get("content")) for m in talk]
    row: dict[str, Any] = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    system = "\n".join(text_of(m.get("content")) for m in example.messages if m.get("role") in ("system", "developer"))
    history = [[texts[i], texts[i + 1]] for i in range(0, len(texts) - 2, 2)]
    return row | ({"system": system} if system else {}) | ({"history": history} if history else {}) | {"id": example.id}


def dpo_row(example: Example) -> dict[str, Any] | None:
    """A preference row: the corrected answer preferred, the served one not; None when the row knows no rejected answer."""
    rejected = example.metadata.get("rejected")
    if not isinstance(rejected, str) or rejected == answer_of(example.messages):
        return None
    asked: dict[str, Any] = {"messages": list(example.messages[:-1])}
    if example.tools:
        asked["tools"] = list(example.tools)
    return {
        "input": asked,
        "preferred_output": [example.messages[-1]],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
        "metadata": {"id": example.id},
    }


def _parquet(examples: Sequence[Example], out: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow is not installed", fix="pip install pyarrow") from None

    out.parent.mkdir(parents=True, exist_ok=True)
    # Messages as JSON text: rows differ in their keys, and a column of structs would fill every row up with nulls.
    table = pa.table(
        {
            "id": [e.id for e in examples],
            "split": [e.split for e in examples],
            "messages": [_text(list(e.messages)) for e in examples],
            "tools": [_text(list(e.tools)) if e.tools else None for e in examples],
            "metadata": [_text(e.metadata) for e in examples],
            "fingerprint": [e.fingerprint for e in examples],
            "source": [e.source for e in examples],
            "weight": [e.weight for e in examples],
        }
    )
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        pq.write_table(table, part, compression="zstd")
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return len(examples)


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _hf(examples: Sequence[Example], out: Path, version: DatasetVersion | None = None) -> int:
    """The layout of a Hugging Face dataset: `data/<split>.jsonl` and a card that names them and the version."""
    names = {"train": "train", "eval": "test"}
    counts = {names[side]: sum(e.split == side for e in examples) for side in names}
    for side, name in names.items():
        if counts[name]:
            rows = (orjson.dumps(openai_row(e), option=orjson.OPT_APPEND_NEWLINE) for e in examples if e.split == side)
            drafts.write_whole(out / "data" / f"{name}.jsonl", rows)
    present = {name: n for name, n in counts.items() if n}
    drafts.write_whole(out / "README.md", [_card(examples, present, version).encode()])
    return len(examples)


def _card(examples: Sequence[Example], splits: Mapping[str, int], version: DatasetVersion | None) -> str:
    """The dataset card. Nothing in it depends on when or where it was written, so that the same version gives the same card."""
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    size = next((name for limit, name in sizes if len(examples) < limit), "n>1M")
    files = "".join(f"      - split: {split}\n        path: data/{split}.jsonl\n" for split in splits)
    front = f"task_categories:\n  - text-generation\nsize_categories:\n  - {size}\n"
    front += f"configs:\n  - config_name: default\n    data_files:\n{files}"
    lines = [f"# {'Draft' if version is None else version.id}", ""]
    lines += [f"{len(examples)} conversations in OpenAI chat form, one a line, provenance under `metadata`."]
    if version is not None:
        made = f", frozen {version.created:%Y-%m-%d}" if version.created else ""
        grown = f", grown from {version.parent}" if version.parent else ""
        lines += [
            "",
            f"Version {version.id}{made}{grown}: {' '.join(version.note.split()) or 'no note'}",
            "",
            f"Digest `{version.digest}`",
        ]
    lines += _counted("Split", dict(splits)) + _counted("Topic", topics(examples))
    lines += _counted("Source", dict(Counter(e.source.partition(":")[0] or "unknown" for e in examples)))
    return f"---\n{front}---\n\n" + "\n".join(lines) + "\n"


def _counted(title: str, counts: Mapping[str, int]) -> list[str]:
    """A table of names and rows, most rows first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    cells = [(re.sub(r"[|\r\n]+", " ", name) or "none", n) for name, n in ordered]
    return ["", f"| {title} | Rows |", "|---|---:|", *(f"| {name} | {n} |" for name, n in cells)]


FORMATS: dict[str, Callable[[Sequence[Example], Path], int]] = {
    "openai": _jsonl(openai_row),
    "sharegpt": _jsonl(sharegpt_row),
    "alpaca": _jsonl(alpaca_row),
    "dpo": _jsonl(dpo_row),
    "parquet": _parquet,
    "hf": _hf,
}
