from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable, depth_of, parse_json
from tunekeeper.data.rows import flat_row, parse_row, resolve_columns

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def spoken(row: Any, mapping: dict[str, str] | None = None) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in parse_row(row, mapping or {}).messages]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TALK}, [("user", "Hi"), ("assistant", "Hello")]),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "Be kind"},
            [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")],
        ),
        ({"instruction": "Say", "input": "hi", "output": "hi"}, [("user", "Say\nhi"), ("assistant", "hi")]),
        (
            {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
            [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        ),
        ({"prompt": "Hi", "completion": "Hello"}, [("user", "Hi"), ("assistant", "Hello")]),
        ({"system": "Be kind", "messages": TALK}, [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")]),
        (
            {"query": "c", "response": "d", "system": "s", "history": [["a", "b"]]},
            [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        ),
        ({"prompt": TALK[:1], "completion": TALK[1:]}, [("user", "Hi"), ("assistant", "Hello")]),
        ({"prompt": "Hi", "completion": "Hello", "label": True}, [("user", "Hi"), ("assistant", "Hello")]),
    ],
)
def test_every_usual_shape_becomes_the_same_messages(row: Any, expected: Any) -> None:
    assert spoken(row) == expected


def test_a_preference_row_keeps_the_rejected_answer_beside_the_good_one() -> None:
    found = parse_row(
        {
            "input": {"messages": TALK[:1], "tools": [{"type": "function"}]},
            "preferred_output": TALK[1:],
            "non_preferred_output": [{"role": "assistant", "content": "Go away"}],
        },
        {},
    )
    assert found.messages[-1]["content"] == "Hello"
    assert found.metadata["rejected"] == "Go away"
    assert found.tools == ({"type": "function"},)


def test_an_instruction_beside_the_messages_is_not_said_twice() -> None:
    own = [{"role": "system", "content": "Be brief"}, *TALK]
    found = parse_row({"system": "Be kind", "messages": own}, {})
    assert [m["content"] for m in found.messages] == ["Be brief", "Hi", "Hello"]
    assert found.metadata == {"system": "Be kind"}


def test_an_answer_that_was_marked_as_bad_is_never_learned() -> None:
    with pytest.raises(Unreadable, match="marked as a bad one"):
        parse_row({"prompt": "Hi", "completion": "Go away", "label": False}, {})


def test_what_a_model_refused_is_its_answer() -> None:
    row = {"messages": [TALK[0], {"role": "assistant", "content": None, "refusal": "No, not that"}]}
    assert spoken(row)[-1] == ("assistant", "No, not that")


def test_metadata_and_other_keys_of_a_chat_row_are_kept() -> None:
    found = parse_row({"messages": TALK, "metadata": {"id": "t1", "category": "bug"}, "lang": "en", "weight": 0}, {})
    assert found.metadata == {"id": "t1", "category": "bug", "lang": "en"}
    assert found.weight == 0.0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "must be an object, not list"),
        ({"messages": "none"}, "`messages` must be a list"),
        ({"conversations": [{"value": "x"}]}, "no role is called 'None'"),
        ({"instruction": "a", "output": "b", "history": ["x"]}, "`history` must be a list of pairs"),
        ({"instruction": "a", "output": "b", "history": 3}, "`history` must be a list of pairs"),
        ({"input": ["a"], "preferred_output": TALK}, "must be lists of messages"),
        ({"messages": TALK, "weight": 7}, "`weight` must be a number from 0 to 1, not 7"),
        (TALK[0], "one message, and nothing says of which conversation"),
        ({"context": {"span_id": "1"}, "attributes": {"a": 1}}, "a span that holds no messages"),
        (["question", "answer"], "columns are: 1, 2"),
        ({"foo": "a", "bar": "b"}, "no column for 'user' .*columns are: foo, bar"),
    ],
)
def test_a_row_that_is_no_conversation_says_why_in_one_sentence(row: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_row(row, {})


def test_an_answer_beside_the_messages_that_ask_for_it_is_theirs() -> None:
    asked = [{"role": "user", "content": "Hi"}]
    completed = {"choices": [{"message": {"role": "assistant", "content": "Hello"}}]}
    for key, said in (("response", "Hello"), ("response", completed), ("completion", "Hello"), ("output", json.dumps(completed))):
        assert spoken({"messages": asked, key: said}) == [("user", "Hi"), ("assistant", "Hello")]
    whole = [*asked, {"role": "assistant", "content": "Hello"}]
    assert spoken({"messages": whole, "response": "other"}) == [("user", "Hi"), ("assistant", "Hello")]


def test_a_column_may_hold_the_messages_that_ask() -> None:
    """As suites of cases have them: `input` a list of messages, `ideal` or `expected` a text."""
    asked = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    for given in (asked, json.dumps(asked)):
        for key in ("ideal", "expected"):
            assert spoken({"input": given, key: "Hello"}) == [("system", "Be kind"), ("user", "Hi"), ("assistant", "Hello")]
    assert spoken({"input": "[1, 2]", "expected": "3"}) == [("user", "[1, 2]"), ("assistant", "3")]
    with pytest.raises(Unreadable, match="more than one column could be 'assistant': output, expected"):
        parse_row({"input": "Hi", "output": "Go", "expected": "Hello"}, {})


def test_several_answer_columns_become_one_json_answer() -> None:
    row = {"ticket": "Hi", "category": "bug", "priority": "low", "id": "7", "when": "2026-01-01"}
    columns = resolve_columns(list(row), {"assistant": "category,priority", "created": "when"}, "t.csv")
    found = flat_row(row, columns)
    assert found.messages[-1]["content"] == '{"category": "bug", "priority": "low"}'
    assert found.metadata == {"id": "7", "created": "2026-01-01", "category": "bug"}


def test_sharegpt_calls_and_observations_become_tool_calls_with_their_answers() -> None:
    turns = [
        {"from": "human", "value": "Rain?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
        {"from": "function_call", "value": '{"name": "weather", "arguments": "{}"}'},
        {"from": "observation", "value": "dry"},
        {"from": "observation", "value": "wet"},
        {"from": "gpt", "value": "Dry in Oslo"},
    ]
    tool = {"name": "weather", "description": "", "parameters": {"type": "object"}}
    found = parse_row({"conversations": turns, "tools": json.dumps([tool])}, {})
    assert [(m["role"], m["content"], m.get("tool_call_id")) for m in found.messages] == [
        ("user", "Rain?", None),
        ("assistant", None, None),
        ("tool", "dry", "call_1"),
        ("tool", "wet", "call_2"),
        ("assistant", "Dry in Oslo", None),
    ]
    assert [(c["id"], c["function"]) for c in found.messages[1]["tool_calls"]] == [
        ("call_1", {"name": "weather", "arguments": '{"city": "Oslo"}'}),
        ("call_2", {"name": "weather", "arguments": "{}"}),
    ]
    assert found.tools == ({"type": "function", "function": tool},)


def test_a_call_that_is_no_json_stays_text() -> None:
    turns = [{"from": "human", "value": "Rain?"}, {"from": "function_call", "value": "weather(Oslo)"}]
    assert spoken({"conversations": turns})[-1] == ("assistant", "weather(Oslo)")


def test_an_openpipe_row_keeps_the_rejected_answer() -> None:
    row = {"messages": TALK, "split": "TRAIN", "rejected_message": {"role": "assistant", "content": "Go away"}}
    found = parse_row(row, {})
    assert (found.shape, found.metadata) == ("openpipe", {"rejected": "Go away"})


def test_a_mapping_for_a_table_leaves_rows_with_a_shape_of_their_own_alone() -> None:
    assert parse_row({"messages": TALK}, {"user": "ticket"}).shape == "openai"
    assert parse_row({"instruction": "Hi", "output": "Hello"}, {"user": "instruction"}).shape == "columns"


def test_who_edited_a_row_and_when_is_kept_under_one_name() -> None:
    row = {"prompt": "Hi", "answer": "Hello", "edited_by": "ana", "reviewed_at": "2026-01-02", "request_id": "r1"}
    found = flat_row(row, resolve_columns(list(row), {}, "t.csv"))
    assert found.metadata == {"said_by": "ana", "said_at": "2026-01-02", "request_id": "r1", "id": "r1"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"a": 123456789012345678901234567890}', "an integer of 30 digits"),
        ('{"a": "\x00"}', "a NUL character at column 8"),
        ('{"a": "b\\u0000c"}', "a NUL character in a text"),
    ],
)
def test_json_that_could_not_be_written_again_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_json(text)


def test_a_string_that_never_ends_is_read_once() -> None:
    counted = depth_of("[" * 65 + '"' + '\\"' * 200_000)
    assert counted == 65
    assert depth_of("[" * 65 + '"' + "\\") == 65
    assert depth_of('["' + '\\"[' * 100 + '"]') == 1


def test_escapes_and_the_largest_integers_are_read() -> None:
    value = {"a": "\U0001f600 [[", "b": [2**64 - 1, -(2**63)]}
    assert parse_json(json.dumps(value)) == value


def test_what_a_question_is_about_is_asked_with_it() -> None:
    row = {"question": "How many are older than 56?", "context": "CREATE TABLE head (age INT)", "answer": "SELECT 1"}
    talk = parse_row(row, {})
    assert [m["content"] for m in talk.messages] == ["How many are older than 56?\nCREATE TABLE head (age INT)", "SELECT 1"]
    assert "context" not in talk.metadata
    assert parse_row({**row, "context": ""}, {}).messages[0]["content"] == "How many are older than 56?"
    kept = parse_row(row, {"user": "question"})
    assert (kept.messages[0]["content"], kept.metadata["context"]) == (row["question"], row["context"])


def test_a_column_whose_name_holds_commas_is_read() -> None:
    talk = parse_row({"Frage, kurz": "Wo?", "Antwort": "Da.", "kurz": "k"}, {"user": "Frage, kurz"})
    assert [m["content"] for m in talk.messages] == ["Wo?", "Da."]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"messages": TALK, "label": False}, "label"),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "kto_tag": "false"}, "kto_tag"),
        ({"instruction": "Hi", "output": "Hello", "kto_tag": False}, "kto_tag"),
        ({"prompt": "Hi", "completion": "Hello", "label": 0}, "label"),
        ({"prompt": "Hi", "completion": "Hello", "label": "False"}, "label"),
    ],
)
def test_an_answer_that_was_judged_to_be_bad_is_not_learned_in_whatever_shape_it_comes(row: Any, key: str) -> None:
    with pytest.raises(Unreadable, match=f"marked as a bad one .`{key}` is "):
        parse_row(row, {})
    assert spoken(row | {key: True}) == [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "completion": " Hello"},
        {"prompt": "Hi\n\n###\n\n", "completion": " Hello END"},
        {"prompt": "Hi ->", "completion": " Hello\n"},
        {"prompt": "<s>[INST] Hi [/INST]", "completion": "Hello </s>"},
        {"prompt": "Hi", "completion": "Hello<|endoftext|>"},
        {"instruction": "Hi", "output": "Hello <|eot_id|></s>\n"},
        {"instruction": "Human: Hi\nAssistant:", "input": "", "output": "Hello"},
    ],
)
def test_a_prompt_that_was_rendered_for_a_model_is_read_without_its_marks(row: Any) -> None:
    assert spoken(row) == [("user", "Hi"), ("assistant", "Hello")]


def test_the_place_of_a_choice_is_no_answer_and_of_several_good_ones_the_first_is_learned() -> None:
    with pytest.raises(Unreadable, match=r"the answer 1 stands for a choice, .*--map user=question,choices"):
        parse_row({"question": "Tea?", "choices": ["no", "yes"], "answer": 1}, {})
    assert spoken({"input": TALK[:1], "ideal": ["Hello", "Hey"]}) == [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        ({"A": "no", "B": "yes"}, "question,A,B"),
        ({"option_a": "no", "option_b": "yes"}, "question,option_a,option_b"),
        ({"options": {"A": "no", "B": "yes"}}, "question,options"),
        ({"choices": {"label": ["A", "B"], "text": ["no", "yes"]}}, "question,choices"),
    ],
)
def test_the_letter_of_a_choice_is_an_answer_where_the_choices_are_asked(beside: dict[str, Any], named: str) -> None:
    row = {"question": "Tea?", **beside, "answer": "B"}
    with pytest.raises(Unreadable, match=f"the answer 'B' stands for a choice, .*--map user={named}"):
        parse_row(row, {})
    asked, said = parse_row(row, {"user": named}).messages
    assert ("Tea?" in asked["content"], "yes" in asked["content"], said["content"]) == (True, True, "B")
    assert spoken({**row, "question": "Tea?\nA. no\nB. yes"})[1] == ("assistant", "B")
    assert spoken({"question": "Which letter?", "answer": "B"})[1] == ("assistant", "B")


def test_a_row_without_names_that_is_two_texts_is_a_question_and_its_answer() -> None:
    """As sets of intents (CLINC) write them."""
    assert spoken(["Hi", "Hello"]) == [("user", "Hi"), ("assistant", "Hello")]
    made = parse_row(["x", "Hi", "Hello"], {"user": "2", "assistant": "3"})
    assert [m["content"] for m in made.messages] == ["Hi", "Hello"]


def test_what_was_said_before_may_be_messages() -> None:
    assert spoken({"question": "And now?", "answer": "Soon", "history": TALK}) == [
        *((m["role"], m["content"]) for m in TALK),
        ("user", "And now?"),
        ("assistant", "Soon"),
    ]


def test_functions_as_they_were_before_tools_are_tools_and_passages_are_read_one_after_the_other() -> None:
    made = parse_row({"messages": TALK, "functions": [{"name": "w", "parameters": {}}], "rejected_response": "Go"}, {})
    assert made.tools == ({"type": "function", "function": {"name": "w", "parameters": {}}},)
    assert made.metadata == {"rejected": "Go"}
    assert spoken({"input": "Hi", "context": ["a", "b"], "expected_output": "Hello"})[0] == ("user", "Hi\na\nb")


def test_turns_that_are_written_field_by_field_are_those_of_the_list() -> None:
    for key, who, text, roles in (
        ("messages", "role", "content", ["user", "assistant"]),
        ("conversations", "from", "value", ["human", "gpt"]),
    ):
        made = parse_row({key: {who: roles, text: ["Hi", "Hello"]}}, {})
        assert [(m["role"], m["content"]) for m in made.messages] == [("user", "Hi"), ("assistant", "Hello")]


def test_who_speaks_in_a_conversation_of_front_is_told_by_its_direction() -> None:
    turns = [{"is_inbound": True, "text": "Hi", "body": "<p>Hi</p>", "author": None}, {"is_inbound": False, "text": "Hello"}]
    assert [m["role"] for m in parse_row({"id": "cnv_1", "messages": turns}, {}).messages] == ["user", "assistant"]


def test_a_response_without_what_was_asked_says_where_that_is() -> None:
    said = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}]
    with pytest.raises(Unreadable, match="input_items"):
        parse_row({"id": "resp_1", "object": "response", "output": said}, {})


@pytest.mark.parametrize("between", [", ", "\n "])
def test_messages_that_pandas_printed_into_a_table_are_messages(between: str) -> None:
    text = "[" + between.join(map(repr, TALK)) + "]"
    assert spoken({"messages": text}) == [("user", "Hi"), ("assistant", "Hello")]
    with pytest.raises(Unreadable, match="must be a list of objects"):
        parse_row({"messages": "[{'role': __import__('os')}]"}, {})
