from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.small import deal_out
from tunekeeper import data
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.data.exports import export
from tunekeeper.data.mending import rewrite_terms
from tunekeeper.workspace import Workspace, create_workspace

MakeExample = Callable[..., Example]
SYSTEM = "Triage the ticket. Answer with JSON."


@pytest.fixture
def rows(ws: Workspace, task: Model, row: MakeExample) -> list[Example]:
    """Three rows, the second held out, the third corrected, the first a longer talk; frozen as desk/d1."""
    talk = row("first?", "1", id="a", category="bug")
    longer = (*talk.messages, {"role": "user", "content": "=second?"}, {"role": "assistant", "content": "2"})
    found = [replace(talk, messages=longer), replace(row("b?", "3", id="b"), split="eval"), row("c?", "4", id="c", rejected="5")]
    drafts.save_draft(ws, "desk", found)
    data.freeze(ws, task, Config())
    return found


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_openai_rows_come_back_as_the_same_examples(ws: Workspace, task: Model, rows: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert export(ws, "desk/d1", "openai", "all", out) == 3
    assert set(lines(out)[0]) == {"messages", "metadata"}
    other = create_workspace(tmp_path / "other")
    data.import_files(other, task, Config(), [out])
    back = {e.id: (e.fingerprint, e.metadata.get("rejected")) for e in drafts.load_draft(other, "desk")}
    expected = {e.id: (e.fingerprint, e.metadata.get("rejected")) for e in rows if e.id != "a"}
    assert {id: back[id] for id in expected} == expected
    assert set(back) == {"a", "b", "c"}


def test_a_row_that_was_named_by_what_it_said_before_its_terms_were_written_anew_comes_back_just_so(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    section = Config(glossary={"AcmePay": "AcmeWallet"})
    deal_out(ws, [row("Where is my refund?", "It is under AcmePay."), row("Where is my invoice?", "In your account.")], section)
    rewrite_terms(ws, task, section)
    version, out = data.freeze(ws, task, section), tmp_path / "out.jsonl"
    export(ws, version.id, "openai", "all", out)
    data.import_files(ws, task, section, [out], replace=True)
    found = data.diff(ws, version.id, "draft", model="desk")
    assert (found.counts["unchanged"], found.metadata, found.edited, found.added) == (2, (), (), ())


@pytest.mark.parametrize("format", ["openai", "sharegpt", "alpaca"])
def test_a_json_file_is_one_list_with_a_row_a_line_and_comes_back(
    ws: Workspace, task: Model, rows: list[Example], tmp_path: Path, format: str
) -> None:
    out, plain = tmp_path / "out.json", tmp_path / "out.jsonl"
    assert export(ws, "desk/d1", format, "all", out) == export(ws, "desk/d1", format, "all", plain) == 3
    assert json.loads(out.read_text("utf-8")) == lines(plain)
    assert len(out.read_text("utf-8").splitlines()) == 5
    other = create_workspace(tmp_path / "other")
    assert data.import_files(other, task, Config(), [out]).added == 3


@pytest.mark.parametrize("format", ["openai", "csv", "parquet", "hf"])
def test_a_place_where_no_file_can_be_is_refused_in_one_line(
    ws: Workspace, rows: list[Example], tmp_path: Path, format: str
) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        export(ws, "desk/d1", format, "all", tmp_path / "taken" / "o")
    assert (tmp_path / "taken").read_text() == "mine"


def test_exported_rows_say_where_they_came_from(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    export(ws, "desk/d1", "openai", "all", tmp_path / "o.jsonl")
    export(ws, "desk/d1", "dpo", "all", tmp_path / "p.jsonl")
    found = [row["metadata"]["source"] for row in (*lines(tmp_path / "o.jsonl"), *lines(tmp_path / "p.jsonl"))]
    assert found == ["file:x.jsonl:1"] * 4


def test_sharegpt_rows_name_the_speakers_as_that_format_does(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    export(ws, "latest", "sharegpt", "eval", tmp_path / "o.jsonl", model="desk")
    turns = [{"from": "system", "value": SYSTEM}, {"from": "human", "value": "b?"}, {"from": "gpt", "value": "3"}]
    assert lines(tmp_path / "o.jsonl") == [{"conversations": turns, "id": "b"}]


def test_alpaca_rows_put_earlier_turns_into_the_history(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    export(ws, "desk/d1", "alpaca", "train", tmp_path / "o.jsonl")
    assert lines(tmp_path / "o.jsonl")[0] == {
        "instruction": "=second?",
        "input": "",
        "output": "2",
        "system": SYSTEM,
        "history": [["first?", "1"]],
        "id": "a",
        "metadata": '{"category":"bug"}',
    }


def test_preferences_are_the_rows_that_know_a_rejected_answer(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    assert export(ws, "desk/d1", "dpo", "all", tmp_path / "o.jsonl") == 1
    [found] = lines(tmp_path / "o.jsonl")
    assert found["preferred_output"] == [{"role": "assistant", "content": "4"}]
    assert found["non_preferred_output"] == [{"role": "assistant", "content": "5"}]
    assert [m["role"] for m in found["input"]["messages"]] == ["system", "user"]
    with pytest.raises(DataError, match="no row has a rejected answer"):
        export(ws, "desk/d1", "dpo", "eval", tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def test_preferences_for_trl_are_prompt_chosen_and_rejected_and_come_back(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    drafts.save_draft(ws, "desk", [replace(row("c?", "4", id="c", rejected="5"), tools=(tool,)), row("d?", "6", id="d")])
    assert export(ws, "draft", "trl", "all", tmp_path / "o.jsonl", model="desk") == 1
    [found] = lines(tmp_path / "o.jsonl")
    assert [m["role"] for m in found["prompt"]] == ["system", "user"]
    assert (found["chosen"], found["rejected"]) == (
        [{"role": "assistant", "content": "4"}],
        [{"role": "assistant", "content": "5"}],
    )
    assert (json.loads(found["tools"]), json.loads(found["metadata"])["id"]) == ([tool], "c")
    assert data.import_files(ws, task, Config(), [tmp_path / "o.jsonl"]).added == 0


def test_parquet_holds_every_column(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    export(ws, "draft", "parquet", "all", tmp_path / "deep" / "o.parquet", model="desk")
    table = pq.read_table(tmp_path / "deep" / "o.parquet").to_pylist()
    assert [(r["id"], r["split"]) for r in table] == [("a", "train"), ("b", "eval"), ("c", "train")]
    assert json.loads(table[1]["messages"]) == list(rows[1].messages)


def test_a_hugging_face_folder_has_a_card_that_names_its_files(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    import yaml

    export(ws, "desk/d1", "hf", "all", tmp_path / "hf")
    front = yaml.safe_load((tmp_path / "hf" / "README.md").read_text("utf-8").split("---")[1])
    files = front["configs"][0]["data_files"]
    assert [(f["split"], len(lines(tmp_path / "hf" / f["path"]))) for f in files] == [("train", 2), ("test", 1)]
    assert front["size_categories"] == ["n<1K"]


def test_the_card_tells_the_version_its_digest_and_what_is_in_it(
    ws: Workspace, task: Model, rows: list[Example], row: MakeExample, tmp_path: Path
) -> None:
    drafts.save_draft(ws, "desk", [*rows, row("d?", "6", id="d", source="inference:req_1", category="a|b\nc")])
    version = data.freeze(ws, task, Config(), note="one more")
    export(ws, version.id, "hf", "all", tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text("utf-8").splitlines()
    assert "# desk/d2" in card
    assert f"Digest `{version.digest}`" in card
    assert f"Version desk/d2, frozen {ws.clock.utc():%Y-%m-%d}, grown from desk/d1: one more" in card
    assert [line for line in card if line.startswith("| ") and "Rows" not in line] == [
        "| train | 3 |",
        "| test | 1 |",
        "| none | 2 |",
        "| a b c | 1 |",
        "| bug | 1 |",
        "| file | 3 |",
        "| inference | 1 |",
    ]


def test_one_side_alone_is_a_layout_that_names_one_file(ws: Workspace, rows: list[Example], tmp_path: Path) -> None:
    import yaml

    export(ws, "draft", "hf", "train", tmp_path / "hf", model="desk")
    assert sorted(path.name for path in (tmp_path / "hf" / "data").iterdir()) == ["train.jsonl"]
    text = (tmp_path / "hf" / "README.md").read_text("utf-8")
    assert text.startswith("---\n")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train.jsonl"}]},
    ]
    assert "# Draft" in text.splitlines()


def _bytes(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("format", ["openai", "sharegpt", "alpaca", "dpo", "trl", "csv", "csv-excel", "parquet", "hf"])
def test_the_same_version_gives_the_same_bytes_today_and_tomorrow(
    ws: Workspace, clock: ManualClock, rows: list[Example], tmp_path: Path, format: str
) -> None:
    export(ws, "desk/d1", format, "all", tmp_path / "x")
    clock.advance(86_400)
    export(ws, "desk/d1", format, "all", tmp_path / "y")
    assert _bytes(tmp_path / "x") == _bytes(tmp_path / "y")
    export(ws, "desk/d1", format, "all", tmp_path / "x")
    assert _bytes(tmp_path / "x") == _bytes(tmp_path / "y")


def test_calls_of_tools_have_no_place_in_alpaca_and_one_in_sharegpt(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]}
    plain = row("a?", "b", id="t")
    messages = (*plain.messages[:2], call, {"role": "tool", "content": "ok"}, plain.messages[2])
    tools = ({"type": "function", "function": {"name": "look"}},)
    drafts.save_draft(ws, "desk", [replace(plain, messages=messages, tools=tools)])
    with pytest.raises(DataError, match="row t: Alpaca has no place"):
        export(ws, "draft", "alpaca", "all", tmp_path / "o", model="desk")
    export(ws, "draft", "sharegpt", "all", tmp_path / "o", model="desk")
    [found] = lines(tmp_path / "o")
    assert [t["from"] for t in found["conversations"]] == ["system", "human", "function_call", "observation", "gpt"]
    assert json.loads(found["tools"])[0]["type"] == "function"


@pytest.mark.parametrize(
    ("name", "format", "split", "model", "error", "message"),
    [
        ("desk/d1", "xml", "all", None, UserError, "no format is called 'xml'"),
        ("desk/d1", "openai", "test", None, UserError, "no split is called 'test'"),
        ("draft", "openai", "all", None, UserError, "which model's draft"),
        ("desk/d2", "openai", "all", None, NotFound, "desk/d2"),
        ("draft", "openai", "all", "empty", NotFound, "empty has no draft"),
    ],
)
def test_a_wrong_word_is_named(
    ws: Workspace,
    rows: list[Example],
    tmp_path: Path,
    name: str,
    format: str,
    split: str,
    model: str | None,
    error: Any,
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        export(ws, name, format, split, tmp_path / "o", model=model)


def test_a_hugging_face_folder_is_read_by_the_reader_that_its_library_uses(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    import pyarrow.json as pj

    tools = [({"type": "function", "function": {"name": "look", "parameters": {"x": kind}}},) for kind in (1, "a", [None])]
    made = [row(f"q{i}?", "a", id=f"r{i}", created=kind, extra=kind) for i, kind in enumerate((1, "2026-01-01", [None]))]
    drafts.save_draft(ws, "desk", [replace(e, tools=t) for e, t in zip(made, tools, strict=True)])
    export(ws, "draft", "hf", "all", tmp_path / "hf", model="desk")
    found = pj.read_json(tmp_path / "hf" / "data" / "train.jsonl").to_pylist()
    assert [[m["content"] for m in r["messages"]] for r in found] == [[SYSTEM, f"q{i}?", "a"] for i in range(3)]
    assert [json.loads(r["metadata"])["extra"] for r in found] == [1, "2026-01-01", [None]]
    other = create_workspace(tmp_path / "other")
    data.import_files(other, task, Config(), [tmp_path / "hf"])
    assert {e.id: e.tools for e in drafts.load_draft(other, "desk")} == {f"r{i}": tools[i] for i in range(3)}


def test_a_folder_gets_a_file_per_side_and_the_entries_that_llama_factory_reads(
    ws: Workspace, rows: list[Example], tmp_path: Path
) -> None:
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    assert export(ws, "desk/d1", "sharegpt", "all", tmp_path) == 3
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert sorted(info) == ["desk_eval", "desk_train", "mine"]
    for side, n in (("train", 2), ("eval", 1)):
        entry = info[f"desk_{side}"]
        found = lines(tmp_path / entry["file_name"])
        assert len(found) == n
        turns = found[0][entry["columns"]["messages"]]
        assert [turn["from"] for turn in turns][:3] == ["system", "human", "gpt"]
        assert all(isinstance(turn["value"], str) for turn in turns)
    export(ws, "desk/d1", "alpaca", "train", tmp_path)
    entry = json.loads((tmp_path / "dataset_info.json").read_text())["desk_train"]
    assert {"instruction", "output"} <= set(lines(tmp_path / entry["file_name"])[0])
    assert (entry["formatting"], entry["columns"]["prompt"]) == ("alpaca", "instruction")
    with pytest.raises(UserError, match="is a folder"):
        export(ws, "desk/d1", "csv", "all", tmp_path)


def test_the_entries_name_only_columns_that_the_rows_have(ws: Workspace, row: MakeExample, tmp_path: Path) -> None:
    """LLaMA-Factory asks every row for each column that is named."""
    plain = replace(row("a?", "b", id="t"), messages=({"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}))

    def columns(format: str, *rows: Example) -> set[str]:
        drafts.save_draft(ws, "desk", rows)
        export(ws, "draft", format, "all", tmp_path, model="desk")
        return set(json.loads((tmp_path / "dataset_info.json").read_text())["desk_train"]["columns"])

    assert columns("alpaca", plain) == {"prompt", "query", "response"}
    assert columns("sharegpt", plain) == {"messages"}
    assert columns("sharegpt", plain, replace(plain, id="u", tools=({"type": "function"},))) == {"messages", "tools"}
    assert columns("alpaca", row("a?", "b", id="t")) == {"prompt", "query", "response", "system"}


def test_pictures_and_weights_go_to_sharegpt_and_come_back(ws: Workspace, task: Model, row: MakeExample, tmp_path: Path) -> None:
    shown = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "a.png"}}]
    bad, good = {"role": "assistant", "content": "Go away", "weight": 0}, {"role": "assistant", "content": "A cat"}
    asked, again = {"role": "user", "content": shown}, {"role": "user", "content": "Pardon?"}
    example = replace(row("a?", "b", id="t"), messages=(asked, bad, again, good))
    drafts.save_draft(ws, "desk", [example])
    out = tmp_path / "o.jsonl"
    export(ws, "draft", "sharegpt", "all", out, model="desk")
    [found] = lines(out)
    assert found["images"] == ["a.png"]
    assert found["conversations"][:2] == [
        {"from": "human", "value": "What is this?<image>"},
        {"from": "gpt", "value": "Go away", "weight": 0},
    ]
    other = create_workspace(tmp_path / "other")
    data.import_files(other, replace(task, system=None), Config(), [out])
    (back,) = drafts.load_draft(other, "desk")
    assert back.messages[0]["content"] == shown
    assert [m.get("weight") for m in back.messages] == [None, 0, None, None]


@pytest.mark.parametrize(
    ("format", "message", "why"),
    [
        ("alpaca", {"content": "bad", "weight": 0}, "Alpaca has no place for answers that are not to be learned"),
        ("alpaca", {"content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}, "Alpaca has no place for pictures"),
        (
            "sharegpt",
            {"content": [{"type": "input_audio", "input_audio": {"data": ""}}]},
            "ShareGPT has no place for input_audio",
        ),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_not_left_out(
    ws: Workspace, row: MakeExample, tmp_path: Path, format: str, message: dict[str, Any], why: str
) -> None:
    said = ({"role": "user", "content": "a?"}, {"role": "assistant", **message})
    more = ({"role": "user", "content": "b?"}, {"role": "assistant", "content": "b"})
    drafts.save_draft(ws, "desk", [replace(row("a?", "b", id="t"), messages=(*said, *more))])
    with pytest.raises(DataError, match=f"row t: {why}"):
        export(ws, "draft", format, "all", tmp_path / "o", model="desk")


def test_a_call_in_the_old_style_is_a_call_as_well(ws: Workspace, row: MakeExample, tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}}
    messages = ({"role": "user", "content": "a?"}, call, {"role": "function", "name": "look", "content": "ok"})
    end = {"role": "assistant", "content": "b"}
    drafts.save_draft(ws, "desk", [replace(row("a?", "b", id="t"), messages=(*messages, end))])
    export(ws, "draft", "sharegpt", "all", tmp_path / "o", model="desk")
    assert [t["from"] for t in lines(tmp_path / "o")[0]["conversations"]] == ["human", "function_call", "observation", "gpt"]


def test_several_calls_of_a_message_are_one_turn_and_come_back(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    plain = row("a?", "b", id="t")
    calls = [{"id": f"c{i}", "type": "function", "function": {"name": "look", "arguments": f'{{"n":{i}}}'}} for i in range(2)]
    results = [{"role": "tool", "tool_call_id": f"c{i}", "content": f"r{i}"} for i in range(2)]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    drafts.save_draft(ws, "desk", [replace(plain, messages=(*plain.messages[:2], said, *results, plain.messages[2]))])
    export(ws, "draft", "sharegpt", "all", tmp_path / "o.jsonl", model="desk")
    turns = lines(tmp_path / "o.jsonl")[0]["conversations"]
    assert [turn["from"] for turn in turns] == ["system", "human", "function_call", "observation", "observation", "gpt"]
    assert json.loads(turns[2]["value"]) == [{"name": "look", "arguments": {"n": 0}}, {"name": "look", "arguments": {"n": 1}}]
    other = create_workspace(tmp_path / "other")
    done = data.import_files(other, task, Config(), [tmp_path / "o.jsonl"])
    (back,) = drafts.load_draft(other, "desk")
    assert (done.added, len(back.messages[2]["tool_calls"]), back.messages[4]["content"]) == (1, 2, "r1")


def test_a_large_set_is_written_without_being_held(ws: Workspace, row: MakeExample, tmp_path: Path) -> None:
    import tracemalloc

    text = "It was late. " * 300
    drafts.save_draft(ws, "desk", (row(f"question {i}? {text}", f"answer {i}", id=f"r{i}", category="c") for i in range(3000)))
    whole = (drafts.folder(ws, "desk") / "draft.jsonl").stat().st_size
    for format in ("openai", "csv", "hf"):
        tracemalloc.start()
        assert export(ws, "draft", format, "all", tmp_path / format, model="desk") == 3000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < whole / 4, format
