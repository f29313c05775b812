from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import columnar
from tunekeeper.data.formats import RawRow, read_rows

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SPOKEN = [("user", "Hi"), ("assistant", "Hello")]


def spoken(row: RawRow) -> list[tuple[str, Any]]:
    assert row.conversation is not None, row.broken
    return [(m["role"], m["content"]) for m in row.conversation.messages]


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def arrow(path: Path, rows: list[dict[str, Any]], *, stream: bool = True) -> Path:
    table = pa.Table.from_pylist(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def test_flat_parquet_is_read_by_its_columns(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    path = parquet(tmp_path / "t.parquet", {"ticket": ["Hi", "Yo"], "reply": ["Hello", None], "date": [at, at]})
    first, second = read_rows(path)
    assert (spoken(first), first.line, first.conversation.metadata["created"]) == (SPOKEN, 1, at.isoformat())
    assert first.conversation.columns == {"user": "ticket", "assistant": "reply", "created": "date"}
    assert spoken(second) == [("user", "Yo"), ("assistant", "")]
    [mapped, _] = read_rows(path, {"user": "reply", "assistant": "ticket"})
    assert spoken(mapped) == [("user", "Hello"), ("assistant", "Hi")]
    with pytest.raises(DataError, match="did you mean 'ticket'"):
        list(read_rows(path, {"user": "tickets"}))


def test_nested_messages_and_messages_as_json_text_read_alike(tmp_path: Path) -> None:
    call = [{"role": "user", "content": "Hi", "name": "ana"}, {"role": "assistant", "content": "Hello", "name": None}]
    [nested] = read_rows(parquet(tmp_path / "n.parquet", {"messages": [call]}))
    assert nested.conversation.messages == ({"role": "user", "content": "Hi", "name": "ana"}, TALK[1])
    [text] = read_rows(parquet(tmp_path / "t.parquet", {"messages": [json.dumps(TALK)], "metadata": ['{"id": "a"}']}))
    assert (spoken(text), text.conversation.metadata) == (SPOKEN, {"id": "a"})
    [wrong] = read_rows(parquet(tmp_path / "w.parquet", {"messages": ["[" * 100]}))
    assert wrong.broken == "lists and objects are nested more than 64 deep"


def test_nested_rows_of_several_row_groups_are_read_in_order(tmp_path: Path) -> None:
    """As every larger set of Hugging Face is written."""
    talks = [[{"role": "user", "content": f"Why {i}?"}, {"role": "assistant", "content": f"{i}."}] for i in range(7)]
    found = list(read_rows(parquet(tmp_path / "t.parquet", {"messages": talks}, row_group_size=3)))
    assert [row.line for row in found] == list(range(1, 8))
    assert [spoken(row) for row in found] == [[("user", f"Why {i}?"), ("assistant", f"{i}.")] for i in range(7)]


def test_a_small_file_that_unpacks_to_much_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "ROW_LIMIT", 1 << 20)
    half, many = "x" * (600 << 10), [{"role": "user", "content": "y" * 10_000}] * 10_000
    wide = parquet(tmp_path / "wide.parquet", {"prompt": [half] * 60, "answer": ["y"] * 60}, compression="zstd")
    deep = parquet(tmp_path / "deep.parquet", {"messages": [many, TALK]}, compression="zstd")
    assert wide.stat().st_size + deep.stat().st_size < 100_000
    tracemalloc.start()
    counted = sum(row.conversation is not None for row in read_rows(wide))
    first, second = read_rows(deep)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (counted, first.broken, spoken(second)) == (60, "the row is longer than 1 MB", SPOKEN)
    assert peak < 8 << 20
    monkeypatch.setattr(columnar, "GROUP_LIMIT", 1 << 19)
    with pytest.raises(DataError, match=r"wide\.parquet: row group 1 unpacks to \d+ MB, at most"):
        list(read_rows(wide))


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_damage_is_one_line_that_names_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PAR1" + b"\x00" * 200)
    with pytest.raises(DataError, match=f"{name}: not readable as") as caught:
        list(read_rows(path))
    assert "\n" not in str(caught.value)


def test_damage_over_which_the_reader_would_end_the_process_is_one_line_as_well(tmp_path: Path) -> None:
    file = parquet(tmp_path / "lists.parquet", {"n": [[1], [2, 3]]})
    content = bytearray(file.read_bytes())
    content[-476] ^= 1  # one more entry in a list of counts than its column has levels
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"lists\.parquet: not readable as Parquet: .*level histogram") as caught:
        next(columnar.read_parquet(file, file.name)[1])
    assert "\n" not in str(caught.value)


def test_a_column_whose_name_is_no_text_is_damage(tmp_path: Path) -> None:
    file = arrow(tmp_path / "rows.arrow", [{"question": "a", "answer": "b"}])
    file.write_bytes(file.read_bytes().replace(b"question", b"questio\xee", 1))
    with pytest.raises(DataError, match=r"rows\.arrow: not readable as Arrow: .*utf-8"):
        columnar.read_arrow(file, file.name)


def test_what_save_to_disk_wrote_is_read_shard_by_shard(tmp_path: Path) -> None:
    root = tmp_path / "helpdesk"
    for split, names in {"train": ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"], "test": ["data.arrow"]}.items():
        for name in names:
            arrow(root / split / name, [{"messages": TALK}])
        (root / split / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
        (root / split / "dataset_info.json").write_text("{}")
        arrow(root / split / "cache-abc.arrow", [{"messages": TALK}])
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    found = list(read_rows(root))
    assert [(row.file, row.line) for row in found] == [
        ("helpdesk/train/data-00000-of-00002.arrow", 1),
        ("helpdesk/train/data-00001-of-00002.arrow", 1),
        ("helpdesk/test/data.arrow", 1),
    ]
    assert all(spoken(row) == SPOKEN for row in found)


def test_a_copy_of_a_repository_is_read_by_its_parquet_or_else_its_lines(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    (root / "data").mkdir(parents=True)
    (root / ".cache").mkdir()
    (root / "README.md").write_text("card")
    (root / "dataset_infos.json").write_text("{}")
    (root / ".cache" / "x.jsonl").write_text("no")
    (root / "data" / "train.jsonl").write_text(json.dumps({"messages": TALK}) + "\n")
    assert [row.file for row in read_rows(root)] == ["repo/data/train.jsonl"]
    for number in (1, 0):
        parquet(root / "data" / f"train-0000{number}.parquet", {"prompt": ["Hi"], "completion": ["Hello"]})
    assert [row.file for row in read_rows(root)] == ["repo/data/train-00000.parquet", "repo/data/train-00001.parquet"]


def test_of_a_folder_of_texts_every_file_is_read_and_one_in_two_kinds_once(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    (root / "more").mkdir(parents=True)
    line = json.dumps({"messages": TALK}) + "\n"
    for name in ("v1.2-a.jsonl", "v1.3-a.jsonl", "more/b.jsonl", "more/b.json"):
        (root / name).write_text(line)
    (root / "c.csv").write_text("question,answer\nHi,Hello\n")
    (root / "README.md").write_text("card")
    files = [row.file for row in read_rows(root)]
    assert files == ["mixed/c.csv", "mixed/more/b.jsonl", "mixed/v1.2-a.jsonl", "mixed/v1.3-a.jsonl"]


def test_an_arrow_file_in_the_file_format_is_read_as_well(tmp_path: Path) -> None:
    [row] = read_rows(arrow(tmp_path / "a.arrow", [{"messages": TALK}], stream=False))
    assert spoken(row) == SPOKEN


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "set: no file with rows"),
        ({"state.json": {"_data_files": [{"filename": "../../secret.arrow"}]}}, "is no file of this folder"),
        ({"state.json": {"_data_files": [{"filename": "gone.arrow"}]}}, "set/gone.arrow: named by state.json, but no such file"),
        ({"state.json": {}}, "set/state.json: names no files"),
        ({"dataset_dict.json": {"splits": ["train"]}}, "train: no such folder"),
    ],
)
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for name, content in files.items():
        (root / name).write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        list(read_rows(root))


def test_bytes_that_are_no_text_are_kept_whole_and_text_with_a_nul_is_told(tmp_path: Path) -> None:
    nul = [{"role": "user", "content": "H\x00i"}, TALK[1]]
    columns = {"messages": [TALK, nul], "name": [b"caf\xc3\xa9", None], "picture": [b"\x00\xff", None]}
    good, bad = read_rows(parquet(tmp_path / "t.parquet", columns))
    assert good.conversation is not None
    assert good.conversation.metadata == {"name": "café", "picture": "data:;base64,AP8="}
    assert bad.broken == "a NUL character in 'messages'"


def test_an_arrow_file_that_is_called_feather_is_one(tmp_path: Path) -> None:
    path = arrow(tmp_path / "t.feather", [{"messages": TALK}], stream=False)
    assert [spoken(row) for row in read_rows(path)] == [SPOKEN]


def test_a_question_in_another_encoding_is_a_broken_row_and_no_address(tmp_path: Path) -> None:
    columns = {"question": [b"Caf\xe9?", b"Tea?"], "answer": [b"Yes.", b"No."]}
    bad, good = read_rows(parquet(tmp_path / "t.parquet", columns))
    assert bad.broken == "the bytes in 'question' are not UTF-8"
    assert good.conversation is not None


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_classes_of_which_a_set_stores_the_places_are_read_by_their_names(tmp_path: Path, suffix: str) -> None:
    label = {"names": ["shipping", "login"], "_type": "ClassLabel"}
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": label, "others": {"feature": label, "_type": "Sequence"}}
    table = pa.table({"text": ["Late", "Locked", "?"], "label": [0, 1, -1], "others": [[1], [], None]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    first, *others = read_rows(path)
    assert (spoken(first), first.conversation.metadata) == ([("user", "Late"), ("assistant", "shipping")], {"others": ["login"]})
    assert [spoken(row)[1][1] for row in others] == ["login", ""]


def test_maps_and_json_of_a_column_are_objects(tmp_path: Path) -> None:
    coded = pa.array([[json.dumps(message) for message in TALK]]).cast(pa.list_(pa.json_()))
    told = pa.array([[("team", "a"), ("k", "1")]], pa.map_(pa.string(), pa.string()))
    inner = pa.array([{"id": "x", "more": '{"n": [1]}'}]).cast(pa.struct([("id", pa.string()), ("more", pa.json_())]))
    table = pa.table({"messages": coded, "metadata": told, "extra": inner})
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.ipc.new_stream(str(tmp_path / "t.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.arrow"):
        [row] = read_rows(tmp_path / name)
        assert spoken(row) == SPOKEN
        assert row.conversation is not None
        assert row.conversation.metadata == {"team": "a", "k": "1", "extra": {"id": "x", "more": {"n": [1]}}}
