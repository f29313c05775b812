from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError, DataError, NotFound, UserError
from tunekeeper.scoring import load_suite

GOOD = """\
suite: desk-core
model: support-desk
scorers: {json_fields: {fields: [category]}, refusal: }
criteria:
  - {metric: accuracy, at_least: 0.9}
  - {metric: refusal, at_least: 0.8, blocking: false}
cases:
  - {id: a, input: "My bill is wrong", expected: {category: billing}, category: billing}
  - id: b
    messages: [{role: user, content: "Write a poem"}]
    tags: [out_of_scope]
"""


def write(tmp_path: Path, text: str, name: str = "suite.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


def test_a_suite_is_read_with_cases_criteria_and_scorer_options(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, GOOD))
    assert (suite.id, suite.model, suite.scorers) == ("desk-core", "support-desk", ("json_fields", "refusal"))
    assert suite.scorer_options == {"json_fields": {"fields": ["category"]}}
    assert [(c.metric, c.at_least, c.blocking) for c in suite.criteria] == [("accuracy", 0.9, True), ("refusal", 0.8, False)]
    assert suite.cases[0].messages == ({"role": "user", "content": "My bill is wrong"},)
    assert suite.cases[1].tags == ("out_of_scope",)
    assert suite.cases[0].source.endswith("suite.yaml:8")


def test_cases_may_stand_in_a_file_beside_and_end_with_their_answer(tmp_path: Path) -> None:
    row = (
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}], "metadata": {"id": "t-1"}}\n'
    )
    write(tmp_path, row + "\n", "cases.jsonl")
    suite = load_suite(write(tmp_path, "suite: s\ncases: cases.jsonl\n"))
    assert (suite.cases[0].id, suite.cases[0].expected, len(suite.cases[0].messages)) == ("t-1", "yes", 1)
    assert load_suite(tmp_path / "cases.jsonl").cases[0].expected == "yes"


def test_the_digest_speaks_of_content_and_not_of_where_it_lies(tmp_path: Path) -> None:
    first = load_suite(write(tmp_path, GOOD))
    moved = load_suite(write(tmp_path, "# a comment\n" + GOOD, "other.yaml"))
    softer = load_suite(write(tmp_path, GOOD.replace("0.9}", "0.8}"), "third.yaml"))
    assert first.digest == moved.digest
    assert softer.digest != first.digest


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("scorers:", "scorer:"), 3, "write 'scorers'"),
        (("at_least: 0.9", "at_last: 0.9"), 5, "write 'at_least'"),
        (("at_least: 0.9", "at_least: 90"), 5, "write 0.9 for 90 %"),
        (("metric: accuracy, at_least: 0.9", "metric: accuracy"), 5, "no at_least, at_most or margin"),
        (("blocking: false", "blocking: perhaps"), 6, "not true or false"),
        (("json_fields:", "json_feilds:"), 3, "write 'json_fields'"),
        (("fields: [category]", "feilds: [category]"), 3, "it has: fields"),
        (("id: b", "id: a"), 9, "already taken"),
        (("expected:", "expcted:"), 8, "write 'expected'"),
        (("role: user", "role: usr"), 9, "a role out of"),
        (("role: user", "role: system"), 9, "no user message"),
        (("suite: desk-core", "suite: [desk"), 2, "not YAML"),
    ],
)
def test_an_error_names_file_line_and_the_way_out(tmp_path: Path, change: tuple[str, str], line: int, said: str) -> None:
    path = write(tmp_path, GOOD.replace(*change, 1))
    with pytest.raises(UserError) as error:
        load_suite(path)
    assert f"{path}:{line}: " in str(error.value)
    assert said in str(error.value)


def test_a_broken_line_is_reported_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path, '{"input": "a"}\n{"input": \n', "cases.jsonl")
    with pytest.raises(DataError, match=r"cases.jsonl:2: not JSON"):
        load_suite(path)


def test_files_that_are_no_suites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no suite file"):
        load_suite(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="holds no case"):
        load_suite(write(tmp_path, "\n", "empty.jsonl"))
    with pytest.raises(ConfigError, match="beside the suite"):
        load_suite(write(tmp_path, "cases: ../../etc/passwd\n"))
    with pytest.raises(ConfigError, match="needs cases"):
        load_suite(write(tmp_path, "suite: x\n"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"input": "\xe9"}\n')
    with pytest.raises(DataError, match="not UTF-8"):
        load_suite(tmp_path / "latin.jsonl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("criteria: 5\ncases: [{input: a}]\n", ":1: criteria are a list"),
        ("criteria: {metric: accuracy, at_least: 1}\ncases: [{input: a}]\n", ":1: criteria are a list"),
        ("criteria: []\ncases: [{input: a}]\ncriteria: []\n", ":3: not YAML: key 'criteria' stands twice"),
        ("scorers: {exact: 5}\ncases: [{input: a}]\n", ":1: the options of scorer exact are a mapping"),
        ("scorers: {exact: {1: 2}}\ncases: [{input: a}]\n", ":1: the options of scorer exact are a mapping"),
        ("scorers: {word_limit: {at_most: many}}\ncases: [{input: a}]\n", ':1: scorer word_limit: at_most is "many", not'),
        ("scorers: {json_fields: {fields: category}}\ncases: [{input: a}]\n", "not a list of texts"),
        ("scorers: {format: {spec: {kind: [a]}}}\ncases: [{input: a}]\n", ":1: format: kind ['a'] is none of"),
        ("cases: [{input: a, tags: 5}]\n", ":1: tags are a list"),
        ("cases: [{input: a, 7: b}]\n", ":1: unknown key 7 in a case"),
        ("cases: [{input: a, expected: .nan}]\n", ":1: a case holds what JSON cannot"),
        ("cases: [{input: a, expected: !!binary aGk=}]\n", ":1: a case holds what JSON cannot"),
        ("cases: [{input: a, expected: !!bool maybe}]\n", "a value does not fit its tag"),
        ("cases: [{input: a, expected: " + "9" * 5000 + "}]\n", "a value does not fit its tag"),
        ("cases: [&a {input: x, expected: *a}]\n", "with its aliases written out, larger than"),
        ("a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, {'*a' if not n else f'*b{n - 1}'}]\n"
         for n in range(40)), "with its aliases written out, larger than"),
        ("cases: " + "[" * 1000, "nested too deeply"),
        ('cases: "a\\0b"\n', ":1: 'a\\x00b' names no file"),
        ("cases: " + "x" * 5000, "cannot be read: File name too long"),
    ],
)  # fmt: skip
def test_what_no_suite_may_say_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        load_suite(write(tmp_path, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_date_is_text_an_alias_may_stand_for_a_text_and_a_line_ends_where_json_ends_it(tmp_path: Path) -> None:
    shared = "cases:\n  - {id: a, input: &q why, expected: 2026-01-05}\n  - {id: b, input: *q, expected: 2026-13-45}\n"
    cases = load_suite(write(tmp_path, shared)).cases
    assert [(case.messages[0]["content"], case.expected) for case in cases] == [("why", "2026-01-05"), ("why", "2026-13-45")]
    write(tmp_path, '\ufeff{"input": "one\u2028two\x85three"}\r\n{"input": "b"}\n', "cases.jsonl")
    found = load_suite(tmp_path / "cases.jsonl").cases
    assert [case.messages[0]["content"] for case in found] == ["one\u2028two\x85three", "b"]
