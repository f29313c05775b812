"""Files of a project folder that still hold an erased person's rows, in every shape that we write or read."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekeeper.data import leftovers as module
from tunekeeper.data.leftovers import Leftover, leftovers

IDS = {"req_1", "desk/1:abc-4", "-9"}


def found(folder: Path) -> list[Leftover]:
    return leftovers(folder, IDS, "u1", apart=folder / "data")


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("suite.jsonl", '{"id": "desk/1:abc-4"}\n{"id": "desk/1:abc-5"}\n', 1),
        ("cases.ndjson", '{"id": "c", "source": "inc_7:req_1"}\nnot JSON\n{"id": "req_1#2"}\n', 2),
        ("openai.jsonl", '{"messages": [], "metadata": {"id": "req_1"}}\n{"metadata": {"user_id": "u1"}}\n', 2),
        ("sharegpt.json", '[{"conversations": [], "id": "req_1"}, {"id": "req_10"}]', 1),
        ("one.json", '{"cases": [{"id": "req_1"}]}', 1),
        ("suite.yaml", "suite: x\ncases:\n  - {id: req_1, input: hi}\n  - {id: other, input: hi}\n", 1),
        ("source.csv", "id,user,text\n1,u1,hi\n2,u2,u1\nreq_1,u3,x\n", 2),
        ("source.tsv", "id\tuser\n1\tu1\n", 1),
        ("export.csv", 'id,metadata\n\'-7,"{""user_id"":""u1""}"\n2,"{"\n', 1),
        ("guarded.csv", "id,user\n'-9,u3\n", 1),
        ("hf.jsonl", '{"messages": [], "metadata": "{\\"id\\":\\"req_1\\"}"}\n{"metadata": "{"}\n', 1),
        ("customers.csv", "id,customer_id,account_id\n1,u1,\n2,,u1\n3,u2,u3\n", 2),
        ("words.jsonl", '{"messages": [{"role": "user", "content": "u1 said req_1"}]}\n', 0),
        ("numbers.jsonl", '{"id": 7}\n[1]\n"req_1"\n', 0),
    ],
)
def test_rows_are_known_by_their_ids_and_by_whom_they_name(tmp_path: Path, name: str, text: str, rows: int) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / name).write_text(text)
    assert found(tmp_path) == ([Leftover(path=f"suites/{name}", rows=rows)] if rows else [])


def test_parquet_is_read_with_the_metadata_inside_its_text(tmp_path: Path) -> None:
    metadata = [json.dumps({"user": "u1"}), json.dumps({}), None]
    pq.write_table(pa.table({"id": ["a", "req_1", "c"], "metadata": metadata}), tmp_path / "x.parquet")
    assert found(tmp_path) == [Leftover(path="x.parquet", rows=2)]


def test_the_data_directory_hidden_folders_and_links_are_passed_over(tmp_path: Path) -> None:
    for folder in ("data", ".git", "kept"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text('{"id": "req_1"}\n')
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "kept" / "a.jsonl")
    assert [each.path for each in found(tmp_path)] == ["kept/a.jsonl"]


def test_a_file_that_cannot_be_looked_into_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 20)
    (tmp_path / "big.json").write_text("[" + "1," * 20 + "1]")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "latin.csv").write_bytes(b"id\n\xff\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    assert {each.path: (each.rows, bool(each.why)) for each in found(tmp_path)} == dict.fromkeys(
        ("big.json", "broken.yaml", "latin.csv", "torn.parquet"), (0, True)
    )
