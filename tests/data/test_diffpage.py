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
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.data.diffpage import MOST, write_page
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
    assert {"cut out", "put in", "t2", "t4", "learned from → held out"} <= set(read.texts["td"])
    assert [text for text in read.texts["h2"] if text.strip()] == [
        "Edited (1)",
        "Added (1)",
        "Removed (1)",
        "Moved to the other side (1)",
    ]


def test_what_rows_say_is_shown_and_never_run_and_nothing_is_loaded(ws: Workspace, row: Any, freeze: Any, tmp_path: Path) -> None:
    freeze([row("a?", "plain", id="t1"), row("b?", EVIL, id="t2")])
    freeze([row("a?", f"plain {EVIL}", id="t1"), row(EVIL, "c", id=f"t{EVIL}")])
    out = tmp_path / "d.html"
    write_page(ws, "desk/d1", "desk/d2", out)
    read = Read(out.read_text("utf-8"))
    assert {tag for tag, _ in read.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td", "del", "ins", "code")
    }
    assert not [attrs for _, attrs in read.tags if {"src", "href", "onerror"} & set(attrs)]
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
    assert "and 7 more" in text
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
