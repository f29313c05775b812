from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, import_files
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import parse_row
from tunekeeper.workspace import Workspace

Write = Callable[[str, Iterable[Any]], Path]
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Oslo?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Oslo"}'}}


def lc(kind: str, **kwargs: Any) -> dict[str, Any]:
    """A message as `langchain_core.load.dumpd` writes it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


def run(inputs: Any, outputs: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "run-1",
        "trace_id": "t-1",
        "run_type": "llm",
        "name": "ChatOpenAI",
        "inputs": inputs,
        "outputs": outputs,
        **more,
    }


def test_a_run_of_a_chat_model_of_langchain_keeps_its_calls_and_where_it_came_from() -> None:
    asked = [lc("SystemMessage", content="Be brief."), lc("HumanMessage", content="Weather in Oslo?")]
    called = lc(
        "AIMessage", content="", tool_calls=[{"name": "look", "args": {"city": "Oslo"}, "id": "call_1", "type": "tool_call"}]
    )
    told = lc("ToolMessage", content="rain", tool_call_id="call_1")
    said = {"text": "Rain.", "generation_info": {"finish_reason": "stop"}, "message": lc("AIMessageChunk", content="Rain.")}
    extra = {"invocation_params": {"model": "m-1", "tools": [{"type": "function", "function": {"name": "look"}}]}}
    extra |= {"metadata": {"ls_model_name": "m-2", "user_id": "u-1"}}
    outputs = {"generations": [[said]], "llm_output": None}
    made = parse_row(run({"messages": [[*asked, called, told]]}, outputs, extra=extra, start_time="2026-01-05T09:00:00"), {})
    assert list(made.messages) == [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Rain."},
    ]
    assert made.shape == "langsmith"
    assert made.metadata == {
        "user_id": "u-1",
        "id": "run-1",
        "request_id": "t-1",
        "created": "2026-01-05T09:00:00",
        "name": "ChatOpenAI",
        "model": "m-2",
    }
    assert made.tools[0]["function"]["name"] == "look"


SAID = {"role": "assistant", "content": "Rain."}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"messages": ASKED}, {"choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}]}),
        ({"messages": ASKED}, {"output": "Rain."}),
        ({"messages": ASKED}, SAID),
        ({"messages": ASKED}, {"messages": [*ASKED, SAID]}),
        ({"messages": ASKED}, {"messages": [lc("AIMessage", content="Rain.")]}),
        ({"messages": [{"type": m["role"], "content": m["content"]} for m in ASKED]}, {"type": "ai", "content": "Rain."}),
        (
            {"input": [{"type": m["role"], "data": {"content": m["content"]}} for m in ASKED]},
            {"output": lc("AIMessage", content="Rain.")},
        ),
        (
            {"system": "Be brief.", "messages": ASKED[1:]},
            {"message": {"role": "assistant", "content": [{"type": "text", "text": "Rain."}]}},
        ),
    ],
)
def test_what_tracers_write_comes_to_the_same_conversation(inputs: Any, outputs: Any) -> None:
    made = list(parse_row(run(inputs, outputs), {}).messages)
    last = made[-1]["content"]
    assert made[:-1] == ASKED
    assert last == "Rain." or last == [{"type": "text", "text": "Rain."}]


@pytest.mark.parametrize("inputs", [{"question": "Weather?"}, {"input": "Weather?"}, {"prompts": ["Weather?"]}])
def test_texts_alone_are_a_question_and_its_answer(inputs: Any) -> None:
    made = parse_row({"id": "e1", "dataset_id": "d1", "inputs": inputs, "outputs": {"answer": "Rain."}}, {})
    assert list(made.messages) == [{"role": "user", "content": "Weather?"}, SAID]


def test_runs_of_tools_and_failed_ones_are_left_out_with_their_reason(ws: Workspace, task: Model, write: Write) -> None:
    rows = [
        run({"messages": ASKED}, {"output": "Rain."}),
        run({"messages": ASKED}, {"output": "x"}, id="r2", run_type="retriever"),
        run({"messages": ASKED}, {"output": "x"}, id="r3", error="timeout"),
        run({"messages": ASKED}, None, id="r4"),
    ]
    found = import_files(ws, task, Config(), [write("runs.jsonl", rows)])
    assert (found.added, found.dropped) == (1, {"broken": 3})
    assert [e.id for e in drafts.load_draft(ws, "desk")] == ["run-1"]
    assert "a retriever run" in found.broken[0]


def test_a_message_of_an_unknown_kind_is_named() -> None:
    with pytest.raises(Unreadable, match="no message of LangChain is called 'Remove'"):
        parse_row(run({"messages": [lc("RemoveMessage", content="")]}, {"output": "x"}), {})
