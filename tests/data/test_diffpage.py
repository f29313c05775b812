from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import diffpage, drafts
from tunekeeper.data.config import Config
from tunekeeper.data.diffpage import MOST, MOST_TEXT, write_page
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.workspace import Workspace

EVIL = '<script src="https://example.org/x.js">alert(1)</script><img src=x onerror=alert(1)>'


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open, []).append(data)


@pytest.fixture
def freeze(ws: Workspace, task: Model, row: Any) -> Any:
    """`freeze([…])`: a version of these rows and one that is held out."""

    def make(rows: list[Example]) -> None:
        drafts.save_draft(ws, "desk", [replace(row("held?", "x", id="held"), split="eval"), *rows])
        data.freeze(ws, task, Config())

    return make


def test_the_page_shows_edits_word_by_word_and_rows_with_their_texts(
    ws: Workspace, row: Any, freeze: Any, tmp_path: Path
) -> None:
    freeze([row("when?", "in 3 days", id="t1"), row("gone?", "cut out", id="t2"), row("m?", "x", id="t3")])
    freeze([row("when?", "in 5 days", id="t1"), row("new?", "put in", id="t4"), replace(row("m?", "x", id="t3"), split="eval")])
    found = write_page(ws, "d1", "latest", tmp_path / "deep" / "d.html", model="desk")
    assert found == data.diff(ws, "desk/d1", "desk/d2")
    read = Read((tmp_path / "deep" / "d.html").read_text("utf-8"))
    assert (read.texts["del"][0], read.texts["ins"][0].strip()) == ("3", "5")
    assert {"cut out", "put in", "learned from → held out"} <= set(read.texts["td"])
    assert {"t1", "t2", "t3", "t4"} <= set(read.texts["th"])
    sections = ["Edited ", "Added ", "Removed ", "Moved to the other side "]
    assert [text for text in read.texts["h2"] if text.strip()] == sections


def test_what_rows_say_is_shown_and_never_run_and_nothing_is_loaded(ws: Workspace, row: Any, freeze: Any, tmp_path: Path) -> None:
    freeze([row("a?", "plain", id="t1"), row("b?", EVIL, id="t2")])
    freeze([row("a?", f"plain {EVIL}", id="t1"), row(EVIL, "c", id=f"t{EVIL}")])
    out = tmp_path / "d.html"
    write_page(ws, "desk/d1", "desk/d2", out)
    read = Read(out.read_text("utf-8"))
    assert {tag for tag, _ in read.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "nav", "div", "a", "h1", "h2", "p", "b", "i"),
        *("small", "table", "thead", "tbody", "tr", "th", "td", "del", "ins", "code", "span"),
    }
    assert not [attrs for _, attrs in read.tags if {"src", "onerror"} & set(attrs)]
    ways = [str(attrs["href"]) for tag, attrs in read.tags if tag == "a"]
    assert set(ways) == {"#added", "#edited", "#removed"}
    assert {way[1:] for way in ways} <= {attrs.get("id") for tag, attrs in read.tags if tag == "h2"}
    assert EVIL in read.texts["td"]
    assert "default-src 'none'" in str(next(attrs["content"] for tag, attrs in read.tags if "http-equiv" in attrs))


def test_a_page_of_many_rows_says_how_many_it_leaves_out_and_is_the_same_every_time(
    ws: Workspace, row: Any, freeze: Any, tmp_path: Path
) -> None:
    freeze([row("a?", "b", id="t")])
    freeze([row("a?", "b", id="t"), *(row(f"q{i}?", "b", id=f"n{i}") for i in range(MOST + 7))])
    for name in ("x", "y"):
        write_page(ws, "desk/d1", "desk/d2", tmp_path / name)
    text = (tmp_path / "x").read_text("utf-8")
    assert "and 7 more, which tunekeeper data diff --json names" in text
    assert text.count("?</td><td>b</td>") == MOST
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_an_unknown_version_writes_no_page(ws: Workspace, row: Any, freeze: Any, tmp_path: Path) -> None:
    freeze([row("a?", "b", id="t")])
    with pytest.raises(NotFound):
        write_page(ws, "desk/d1", "desk/d9", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_page_shows_other_metadata_and_the_draft(ws: Workspace, row: Any, freeze: Any, tmp_path: Path) -> None:
    freeze([row("when?", "soon", id="t1", category="bug")])
    draft = [replace(row("held?", "x", id="held"), split="eval"), row("when?", "soon", id="t1", category="<b>")]
    drafts.save_draft(ws, "desk", draft)
    found = write_page(ws, "desk/d1", "draft", tmp_path / "d.html")
    assert found == data.diff(ws, "desk/d1", "draft")
    text = (tmp_path / "d.html").read_text("utf-8")
    assert "desk/draft" in text
    assert "not frozen" in text
    assert "category: bug -&gt; &lt;b&gt;" in text


def test_what_a_browser_would_obey_unseen_is_written_out(ws: Workspace, row: Any, freeze: Any, tmp_path: Path) -> None:
    freeze([row("a\u202e?", "b", id="t")])
    freeze([row("a\u202e?", "b\u2066 c\x00\x1b\u200b", id="t")])
    write_page(ws, "desk/d1", "desk/d2", tmp_path / "d.html")
    text = (tmp_path / "d.html").read_text("utf-8")
    assert not {"\u202e", "\u2066", "\x00", "\x1b", "\u200b"} & set(text)
    for code in ("U+202E", "U+2066", "U+0000", "U+001B", "U+200B"):
        assert f"<code>{code}</code>" in text


def test_of_long_texts_the_page_shows_what_changed_with_some_words_around_it(
    ws: Workspace, row: Any, freeze: Any, tmp_path: Path
) -> None:
    words = [f"w{n}" for n in range(9000)]
    freeze([row("when?", " ".join(words), id="t1"), row("what?", "x" * 90_000, id="t2")])
    words[7000] = "other"
    freeze([row("when?", " ".join(words), id="t1"), row("what?", "y" * 90_000, id="t2")])
    write_page(ws, "desk/d1", "desk/d2", tmp_path / "d.html")
    read = Read((tmp_path / "d.html").read_text("utf-8"))
    assert (read.texts["del"][0], read.texts["ins"][0]) == ("w7000", "other")
    assert {"… 6,980 words …", "… 1,979 words …", f"… {90_000 - MOST_TEXT:,} more characters"} <= set(read.texts["i"])
    assert (tmp_path / "d.html").stat().st_size < 20_000


def test_rows_too_long_for_a_page_are_fewer_and_it_says_how_many_are_left_out(
    ws: Workspace, row: Any, freeze: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffpage, "MOST_BYTES", 100_000)
    freeze([row("a?", "b", id="t")])
    freeze([row("a?", "b", id="t"), *(row(f"{i}" + "\x00" * 5000, "\x07" * 5000, id=f"n{i}") for i in range(20))])
    write_page(ws, "desk/d1", "desk/d2", tmp_path / "d.html")
    text = (tmp_path / "d.html").read_text("utf-8")
    assert "and 18 more" in text
    assert len(text) < 150_000


def test_an_edit_beside_prompt_and_answer_is_shown_as_well(ws: Workspace, row: Any, freeze: Any, tmp_path: Path) -> None:
    def said(system: str, answer: str = "soon", **more: Any) -> Example:
        made = row("when?", answer, id=more.pop("id"))
        messages = ({"role": "system", "content": system}, *made.messages[1:])
        return replace(made, messages=messages, fingerprint=fingerprint(messages), **more)

    freeze([said("Be short.", id="t1"), said("x", id="t2"), said("x", "a b", id="t3")])
    freeze([said("Be kind.", id="t1"), said("x", id="t2", weight=2.0), said("x", "a  b", id="t3")])
    write_page(ws, "desk/d1", "desk/d2", tmp_path / "d.html")
    read = Read((tmp_path / "d.html").read_text("utf-8"))
    assert (read.texts["del"][0], read.texts["ins"][0]) == ("short.", "kind.")
    assert {"system:", "weight:", "only spaces or line ends changed"} <= set(read.texts["i"])


def test_what_came_in_is_told_without_colours_and_a_dark_reader_prints_dark_on_white(
    ws: Workspace, row: Any, freeze: Any, tmp_path: Path
) -> None:
    freeze([row("when?", "in 3 days", id="t1")])
    freeze([row("when?", "in 5 days", id="t1")])
    write_page(ws, "desk/d1", "desk/d2", tmp_path / "d.html")
    style = (tmp_path / "d.html").read_text("utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "text-decoration: none" not in style.partition("ins {")[2].partition("}")[0]
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert style.count("prefers-color-scheme") == 1
