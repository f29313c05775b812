from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data.tables import encoding_of, lines, opened_table


def test_a_table_has_a_header_and_rows_that_say_where_they_stand_and_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfa;b\r\n1;2\r\n\r\n3\r\n4;\xff\r\n5;6\r\n")
    with opened_table(path, "name.csv", ".csv") as table:
        assert (table.name, table.header) == ("name.csv", ["a", "b"])
        assert [(row.line, row.cells, row.trouble) for row in table.rows] == [
            (2, {"a": "1", "b": "2"}, ""),
            (4, {}, "1 cells, the header has 2 columns"),
            (5, {}, "not UTF-8"),
            (6, {"a": "5", "b": "6"}, ""),
        ]


def test_a_file_without_a_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"t\.csv: line 1 is no header"), opened_table(path, "t.csv", ".csv"):
        pass


def test_lines_are_numbered_also_behind_one_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunekeeper.data.tables.LINE_LIMIT", 10)
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"short\n" + b"x" * 5000 + b"\nlast")
    assert list(lines(path)) == [(1, b"short\n"), (2, None), (3, b"last")]


def test_a_table_may_say_its_separator_first_and_names_of_columns_have_no_blanks_around(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"sep=;\r\n user ; assistant\r\na, b;c\r\n")
    with opened_table(path, "t.csv", ".csv") as table:
        assert table.header == ["user", "assistant"]
        assert [(row.line, row.cells) for row in table.rows] == [(3, {"user": "a, b", "assistant": "c"})]


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("Größe, Straße und café für später", "cp1252", "WINDOWS-1252"),
        ("Wo ist Größe 7? Hier, für dich", "cp1252", "WINDOWS-1252"),
        ("テストのメールアドレスはどこですか", "shift_jis", "SHIFT_JIS"),
        ("Где мой заказ, и когда он придёт?", "cp1251", "WINDOWS-1251"),
        ("注文はどこですか。まだ届きません", "shift_jis", "SHIFT_JIS"),
        ("注文はどこですか。まだ届きません", "euc_jp", "EUC-JP"),
        ("我的订单在哪里？已经等了两个星期", "gb18030", "GB18030"),
        ("제 주문은 어디에 있나요? 아직 도착하지 않았습니다", "euc_kr", "EUC-KR"),
    ],
)
def test_the_encoding_that_a_file_seems_to_have_is_told(tmp_path: Path, text: str, code: str, told: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"user,assistant\n{text},ok\n".encode(code))
    assert encoding_of(path) == told


@pytest.mark.parametrize(
    "header",
    [
        '"Question, free text";"Answer, free text"',
        '"id, or number (first, second)";"Question, free text";"Answer, free text"',
        "Question, free text;Answer, free text",
        '"Question ""quoted, twice, here""\nand, on, a line";"Answer, free text"',
    ],
)
def test_separators_inside_a_quoted_header_separate_nothing(tmp_path: Path, header: str) -> None:
    cells = ['"Where is it, please?"', '"Here, on the shelf"']
    row = ";".join(['"1"'] * (header.count('";"') - 1) + cells)
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + row + "\n" + row + "\n")
    with opened_table(path, "t.csv", ".csv") as table:
        rows = list(table.rows)
    assert len(table.header) == row.count('";"') + 1
    assert [list(each.cells.values())[-2:] for each in rows] == [["Where is it, please?", "Here, on the shelf"]] * 2


def test_a_header_in_another_encoding_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("Anliegen;Lösung\r\nWo?;Hier\r\n".encode("cp1252"))
    with (
        pytest.raises(DataError, match=r"tickets 1\.csv: line 1 is not UTF-8") as refused,
        opened_table(path, "x/tickets 1.csv", ".csv"),
    ):
        pass
    assert refused.value.fix == "iconv -f WINDOWS-1252 -t UTF-8 'tickets 1.csv' > 'utf8-tickets 1.csv'"
