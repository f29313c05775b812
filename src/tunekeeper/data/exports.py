"""Export: rows of a version in the shapes other tools read, as a stream. The same version always gives the same bytes."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson

from tunekeeper.core.errors import DataError, MissingExtra, NotFound, UserError
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.data import alpaca, csvrows, drafts, sharegpt
from tunekeeper.data.examples import read_file, topic_of
from tunekeeper.data.originals import with_rest
from tunekeeper.data.preferences import REJECTED, rejected_of
from tunekeeper.data.scores import sentence
from tunekeeper.data.versions import draft_path, has_draft, read_examples, resolve
from tunekeeper.store.place import whole
from tunekeeper.text.answers import as_message
from tunekeeper.workspace import Workspace

T = TypeVar("T")
Side = Literal["train", "eval", "all"]
Rows = Callable[[], Iterator[Example]]
"""The rows to write, from the first each time it is called."""
BATCH = 10_000
"""Rows of a Parquet file that are held at once."""
_SIDES = {"train": "train", "eval": "test"}


def export(
    ws: Workspace, name: str, format: str, split: str, out: Path, *, model: str | None = None, folder: bool = False
) -> int:
    """Write a version (an id, or `latest` or `draft` of `model`) to `out`; returns the number of rows.

    `format`: one of `FORMATS`. `split`: train, eval or all. Into a folder, one that is there or that `folder` says is meant,
    sharegpt, alpaca and openai rows go as a file per side with the `dataset_info.json` that LLaMA-Factory reads; `hf` makes a
    folder. Raises UserError for another name, DataError when the format cannot hold a row, NotFound for an unknown version.
    """
    if format not in FORMATS:
        raise UserError(f"no format is called {format!r}", fix=f"--format {'|'.join(FORMATS)}")
    if split not in ("train", "eval", "all"):
        raise UserError(f"no split is called {split!r}", fix="--split train|eval|all")
    owner, _, short = name.rpartition("/")
    version = None if short == "draft" else resolve(ws, name, model)
    model = owner or model if version is None else version.model
    if model is None:
        raise UserError("which model's draft?", fix="add --model MODEL")
    if version is None and not has_draft(ws, model):
        raise NotFound(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")

    def rows() -> Iterator[Example]:
        found = read_file(draft_path(ws, model)) if version is None else read_examples(ws, version)
        return (example for example in found if split in ("all", example.split))

    if next(rows(), None) is None:
        raise DataError(f"{name} has no rows on the {split} side", fix=f"tunekeeper data ls --model {model}")
    if format == "hf":
        return _hf(rows, out, version)
    return _folder(rows, out, format, model) if folder or out.is_dir() else FORMATS[format](rows, out)


def _jsonl(shape: Callable[[Example], dict[str, Any]]) -> Callable[[Rows, Path], int]:
    return _jsonl_of(lambda example: [shape(example)])


def _jsonl_of(shapes: Callable[[Example], list[dict[str, Any]]]) -> Callable[[Rows, Path], int]:
    def write(rows: Rows, out: Path) -> int:
        count, as_list = 0, out.suffix.casefold() == ".json"  # one list then, still a row a line

        def lines() -> Iterator[bytes]:
            nonlocal count
            for row in itertools.chain.from_iterable(map(shapes, rows())):
                begin, end = (b",\n" if count else b"[\n", b"") if as_list else (b"", b"\n")
                count += 1
                yield begin + orjson.dumps(row) + end
            if not count:
                raise DataError("no row has a rejected answer beside the good one", fix="export with --format openai")
            if as_list:
                yield b"\n]\n"

        drafts.write_whole(out, lines())
        return count

    return write


def _folder(rows: Rows, out: Path, format: str, model: str) -> int:
    """A file per side, and the entries by which LLaMA-Factory knows them; entries of other datasets there stay."""
    if format not in _INFO:
        raise UserError(f"{out} is a folder", fix=f"name a file, e.g. --out {out / ('train.' + format)}")
    path = out / "dataset_info.json"
    try:
        info = orjson.loads(path.read_bytes()) if path.exists() else {}
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON: {error}", fix="choose another folder with --out") from None
    count = 0
    for side in _SIDES:
        mine = _side(rows, side)
        if next(mine(), None) is not None:
            count += FORMATS[format](mine, out / f"{side}.jsonl")
            columns = _held(out / f"{side}.jsonl", _INFO[format]["columns"])
            info[f"{model}_{side}"] = {"file_name": f"{side}.jsonl", **_INFO[format], "columns": columns}
    drafts.write_whole(path, [orjson.dumps(info, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)])
    return count


def _held(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """Those of the columns that any row of a file has: LLaMA-Factory asks every row for each that is named."""
    missing, found = dict(columns), set[str]()
    with path.open("rb") as file:
        for line in file:
            here = {role: name for role, name in missing.items() if f'"{name}":'.encode() in line}
            found |= here.keys()
            missing = {role: name for role, name in missing.items() if role not in here}
            if not missing:
                break
    return {role: name for role, name in columns.items() if role in found}


def _side(rows: Rows, side: str) -> Rows:
    return lambda: (example for example in rows() if example.split == side)


def openai_row(example: Example) -> dict[str, Any]:
    """`messages`, `tools` where there are any, and our provenance under `metadata`, which other trainers ignore."""
    row: dict[str, Any] = {"messages": list(example.messages)}
    if example.tools:
        row["tools"] = list(example.tools)
    if example.weight != 1.0:
        row["weight"] = example.weight
    return row | {"metadata": _provenance(example)}


def _provenance(example: Example) -> dict[str, Any]:
    """The row's metadata, its id and where it came from; a `source` of its own stays."""
    origin = {"source": example.source} if example.source else {}
    return {**origin, **example.metadata, "id": example.id}


def sharegpt_row(example: Example) -> dict[str, Any]:
    """`conversations` with `from` and `value`, `tools`, `images`. Raises DataError for attachments other than pictures."""
    turns, images = _named(example, sharegpt.written)
    row: dict[str, Any] = {"conversations": turns, **_tools(example), **({"images": images} if images else {}), "id": example.id}
    return with_rest(row, example, sharegpt.conversation_of)


def alpaca_row(example: Example) -> dict[str, Any]:
    """`instruction`, `input`, `output`, with `system` and `history` where there are any. Raises DataError for calls of tools, for
    pictures, and for an answer that is not to be learned."""
    row = {**_named(example, alpaca.written), **_tools(example), "id": example.id}
    return with_rest(row, example, alpaca.conversation_of)


def _named(example: Example, write: Callable[[Sequence[Mapping[str, Any]]], T]) -> T:
    """What `write` makes of a row's messages; what it refuses is said of the row by its name."""
    try:
        return write(example.messages)
    except DataError as error:
        raise DataError(f"row {example.id}: {error.message}", fix=error.fix) from None


def _tools(example: Example) -> dict[str, str]:
    return {"tools": orjson.dumps(list(example.tools)).decode()} if example.tools else {}


def dpo_rows(example: Example) -> list[dict[str, Any]]:
    """A preference row for each rejected answer: the row's own answer preferred, that one not; none when it knows of none."""
    asked: dict[str, Any] = {"messages": list(example.messages[:-1])}
    if example.tools:
        asked["tools"] = list(example.tools)
    return [
        {
            "input": asked,
            "preferred_output": [example.messages[-1]],
            "non_preferred_output": [as_message(rejected, tools=bool(example.tools))],
            **({"weight": example.weight} if example.weight != 1.0 else {}),
            "metadata": {key: value for key, value in _provenance(example).items() if key not in REJECTED},
        }
        for rejected in rejected_of(example)
    ]


def trl_rows(example: Example) -> list[dict[str, Any]]:
    """The preference rows of an example as TRL reads them: `prompt`, `chosen` and `rejected`, tools and metadata as JSON text."""
    return [
        {
            "prompt": row["input"]["messages"],
            "chosen": row["preferred_output"],
            "rejected": row["non_preferred_output"],
            **({"tools": _text(row["input"]["tools"])} if "tools" in row["input"] else {}),
            **({"weight": row["weight"]} if "weight" in row else {}),
            "metadata": _text(row["metadata"]),
        }
        for row in dpo_rows(example)
    ]


def _parquet(rows: Rows, out: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtra("pyarrow is not installed", fix="pip install pyarrow") from None

    texts = ("id", "split", "messages", "tools", "metadata", "fingerprint", "source")
    schema = pa.schema([*((name, pa.string()) for name in texts), ("weight", pa.float64())])
    source, count = rows(), 0
    with whole(out) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        while batch := list(itertools.islice(source, BATCH)):
            writer.write_table(pa.Table.from_pylist([_flat(example) for example in batch], schema=schema))
            count += len(batch)
    return count


def _flat(e: Example) -> dict[str, Any]:
    # Messages as JSON text: rows differ in their keys, and a column of structs would fill every row up with nulls.
    row: dict[str, Any] = {"id": e.id, "split": e.split, "messages": _text(list(e.messages)), "metadata": _text(e.metadata)}
    row["tools"] = _text(list(e.tools)) if e.tools else None
    return row | {"fingerprint": e.fingerprint, "source": e.source, "weight": e.weight}


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _hf(rows: Rows, out: Path, version: DatasetVersion | None = None) -> int:
    """The layout of a Hugging Face dataset: `data/<split>.jsonl` and a card that names them and the version."""
    splits: dict[str, int] = {}
    topics: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for side, name in _SIDES.items():
        before = topics.total()
        lines = _card_lines(_side(rows, side), topics, sources)
        first = next(lines, None)
        if first is not None:
            drafts.write_whole(out / "data" / f"{name}.jsonl", itertools.chain([first], lines))
            splits[name] = topics.total() - before
    drafts.write_whole(out / "README.md", [_card(splits, topics, sources, version).encode()])
    return sum(splits.values())


def _card_lines(rows: Rows, topics: Counter[str], sources: Counter[str]) -> Iterator[bytes]:
    """The rows as lines; counts their topics and sources on the way.

    Metadata and tools are JSON text: a column of the library that reads them has one type for all rows, and theirs differ.
    """
    for example in rows():
        topics[topic_of(example) or "none"] += 1
        sources[example.source.partition(":")[0] or "unknown"] += 1
        row = openai_row(example)
        row |= {key: _text(row[key]) for key in ("metadata", "tools") if key in row}
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _card(
    splits: Mapping[str, int], topics: Mapping[str, int], sources: Mapping[str, int], version: DatasetVersion | None
) -> str:
    """The dataset card. Nothing in it depends on when or where it was written, so that the same version gives the same card."""
    total = sum(splits.values())
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    size = next((name for limit, name in sizes if total < limit), "1M<n<10M" if total < 10_000_000 else "10M<n<100M")
    files = "".join(f"      - split: {split}\n        path: data/{split}.jsonl\n" for split in splits)
    front = f"task_categories:\n  - text-generation\nsize_categories:\n  - {size}\n"
    front += f"configs:\n  - config_name: default\n    data_files:\n{files}"
    lines = [f"# {'Draft' if version is None else version.id}", ""]
    lines += [f"{total} conversations in OpenAI chat form, one a line, provenance under `metadata`."]
    if version is not None:
        made = f", frozen {version.created:%Y-%m-%d}" if version.created else ""
        grown = f", grown from {version.parent}" if version.parent else ""
        quality = version.report.get("quality")
        lines += [
            "",
            f"Version {version.id}{made}{grown}: {' '.join(version.note.split()) or 'no note'}",
            "",
            f"Digest `{version.digest}`",
        ]
        lines += ["", f"Quality {sentence(quality)}"] if quality else []
    lines += _counted("Split", splits) + _counted("Topic", topics) + _counted("Source", sources)
    return f"---\n{front}---\n\n" + "\n".join(lines) + "\n"


def _counted(title: str, counts: Mapping[str, int]) -> list[str]:
    """A table of names and rows, most rows first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    cells = [(re.sub(r"[|\r\n]+", " ", name) or "none", n) for name, n in ordered]
    return ["", f"| {title} | Rows |", "|---|---:|", *(f"| {name} | {n} |" for name, n in cells)]


def _csv(rows: Rows, out: Path) -> int:
    return csvrows.write_csv(rows(), out)


def _csv_excel(rows: Rows, out: Path) -> int:
    return csvrows.write_csv(rows(), out, mark=True)


FORMATS: dict[str, Callable[[Rows, Path], int]] = {
    "openai": _jsonl(openai_row),
    "sharegpt": _jsonl(sharegpt_row),
    "alpaca": _jsonl(alpaca_row),
    "dpo": _jsonl_of(dpo_rows),
    "trl": _jsonl_of(trl_rows),
    "csv": _csv,
    "csv-excel": _csv_excel,
    "parquet": _parquet,
    "hf": _hf,
}
_INFO: dict[str, dict[str, Any]] = {
    "openai": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
    "sharegpt": {"formatting": "sharegpt", "columns": {"messages": "conversations", "tools": "tools", "images": "images"}},
    "alpaca": {
        "formatting": "alpaca",
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"},
    },
}
"""Format → how LLaMA-Factory is told to read it."""
