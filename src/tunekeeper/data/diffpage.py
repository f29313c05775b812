"""The difference of two versions as one page: no network, no script, no other file; every text in it is shown, never run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.data import drafts
from tunekeeper.data.differences import Changes, Difference, changes, counted, pair_of, relabelled, word_pieces
from tunekeeper.data.examples import Row
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.workspace import Workspace

MOST = 500
"""Rows of each kind that the page shows; it says how many more there are."""
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --gone: #c0392b22; --come: #27ae6022 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } td, th { border-bottom: 1px solid var(--line); padding: .3rem .5rem;
text-align: left; vertical-align: top } td { white-space: pre-wrap; overflow-wrap: anywhere } td.n { text-align: right }
del { background: var(--gone) } ins { background: var(--come) } code { font-size: .85em }
"""


def write_page(ws: Workspace, a: str, b: str, out: Path, *, model: str | None = None) -> Difference:
    """Write what changed from version `a` to version `b`, or to the `draft`, to the file `out`, whole or not at all; returns the
    difference.

    The same two versions give the same bytes. Raises NotFound, UserError, DataError, DiskFull.
    """
    first, second = pair_of(ws, a, b, model=model)
    found = changes(ws, first, second)
    drafts.write_whole(out, [page(found, first, second).encode()])
    return found.difference


def page(changed: Changes, a: DatasetVersion, b: DatasetVersion | None) -> str:
    """The page of a difference (None: to the draft): counts, topics, new words, then rows side by side, at most `MOST` of each
    kind."""
    found = changed.difference
    name = f"{a.model}/draft" if b is None else b.id
    rows = sum(n for what, n in found.counts.items() if what not in ("removed", "moved"))
    last = f"{_cell(name)}{_cell('not frozen')}{_cell(str(rows))}{_cell('')}" if b is None else _version(b)
    before, after = {e.id: e for e in changed.old}, {e.id: e for e in changed.new}
    body = [
        f"<h1>{escape(a.id)} → {escape(name)}</h1>",
        f"<p>{escape(counted(found.counts))}</p>",
        _table(("version", "frozen", "rows", "digest"), [_version(a), last]),
    ]
    shifts = [f"{_cell(topic)}<td class=n>{x}</td><td class=n>{y}</td>" for topic, (x, y) in found.topics.items()]
    body += _section("Topics", ("topic", a.id, name), shifts, len(shifts))
    body += [f"<h2>New words</h2><p>{escape(', '.join(found.new_words))}</p>"] if found.new_words else []
    edits = [
        f"{_cell(edit.id)}<td>{_words(prompt_of(edit.before), prompt_of(edit.after))}</td>"
        f"<td>{_words(answer_of(edit.before), answer_of(edit.after))}</td>"
        for edit in found.edited[:MOST]
    ]
    body += _section("Edited", ("id", "prompt", "answer"), edits, len(found.edited))
    relabels = [f"{_cell(each.id)}{_cell(', '.join(relabelled(each)))}" for each in found.metadata[:MOST]]
    body += _section("Other metadata", ("id", "from, to"), relabels, len(found.metadata))
    body += _section("Added", ("id", "prompt", "answer"), _rows(found.added, after), len(found.added))
    body += _section("Removed", ("id", "prompt", "answer"), _rows(found.removed, before), len(found.removed))
    moved = [f"{_cell(id)}<td>{_sides(before.get(id))}</td>" for id in found.moved[:MOST]]
    body += _section("Moved to the other side", ("id", "from, to"), moved, len(found.moved))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    title = f"<title>{escape(a.id)} → {escape(name)}</title>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{title}<style>{_STYLE}</style></head>\n<body>\n' + "\n".join(
        [*body, "</body></html>\n"]
    )


def _version(version: DatasetVersion) -> str:
    made = f"{version.created:%Y-%m-%d %H:%M}" if version.created else "–"
    return f"{_cell(version.id)}{_cell(made)}{_cell(str(version.examples))}<td><code>{escape(version.digest)}</code></td>"


def _rows(ids: Sequence[str], known: Mapping[str, Row]) -> list[str]:
    chosen = [known[id] for id in ids[:MOST]]
    return [f"{_cell(e.id)}{_cell(prompt_of(e.messages))}{_cell(answer_of(e.messages))}" for e in chosen]


def _section(title: str, names: Sequence[str], rows: Sequence[str], count: int) -> list[str]:
    if not count:
        return []
    more = f"<p>and {count - len(rows)} more</p>" if count > len(rows) else ""
    return [f"<h2>{escape(title)} ({count})</h2>", _table(names, rows) + more]


def _table(names: Sequence[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "\n</table>"


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _words(before: str, after: str) -> str:
    """The change of a text, words that went in <del> and words that came in <ins>."""
    pieces = []
    for old, new in word_pieces(before, after):
        gone, come = f"<del>{escape(old)}</del>" if old else "", f"<ins>{escape(new)}</ins>" if new else ""
        pieces.append(escape(old) if old == new else gone + come)
    return " ".join(pieces)


def _sides(row: Row | None) -> str:
    if row is None:
        return "–"
    return "learned from → held out" if row.split == "train" else "held out → learned from"
