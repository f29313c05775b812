"""The difference of two versions as one page: no network, no script, no other file; every text in it is shown, never run.

However many rows differ and however long they are, the page stays one that a browser opens at once: it shows `MOST` rows of each
kind, of a text what changed with some words around it, and says what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.data import ages, drafts
from tunekeeper.data.differences import Changes, Difference, Edit, changes, pair_of
from tunekeeper.data.difftext import elsewhere, relabelled, word_pieces
from tunekeeper.data.examples import Row
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.workspace import Workspace

MOST = 500
"""Rows of each kind that the page shows; it says how many more there are."""
MOST_BYTES = 1_000_000
"""Characters of a section after which no row follows, for rows that are long."""
MOST_TEXT = 1_500
"""Characters of one text, or of one change of it, that are shown."""
MOST_CHANGES = 40
"""Places of one text whose change is shown."""
AROUND = 20
"""Words before and after a change that are shown of a text that stays."""
_PAIRS = 40_000
"""Pairs of words up to which two texts are compared word by word, for a page of many."""
_COUNTS = ("added", "removed", "edited", "moved", "metadata", "unchanged")
# What a browser would obey and nobody sees, e.g. what turns the direction of all text behind it, is written out.
_HIDDEN = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x61C, 0x180E, 0xFEFF, *range(0x200B, 0x2010))
_HIDDEN += (*range(0x2028, 0x202F), *range(0x2060, 0x2070), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080))
_SHOWN = {code: f"<code>U+{code:04X}</code>" for code in _HIDDEN}
_STYLE = """
:root { color-scheme: light dark; --ink: #16202b; --soft: #5a6775; --line: #dfe4ea; --page: #f5f7f9; --card: #fff; --bed: #e9edf2;
 --come: #14713c; --comebed: #d8f0e1; --gone: #a41f2b; --gonebed: #fbe0e2; --link: #0b63b8 }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e7ecf2; --soft: #9aa8b6; --line: #2c3641; --page: #0e1319;
 --card: #171e26; --bed: #29323c; --come: #7fe0a6; --comebed: #143d26; --gone: #ffa3a7; --gonebed: #4d2225; --link: #62aef5 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
 "Helvetica Neue", sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
main { max-width: 1200px; margin: 0 auto; padding: 28px 16px 64px }
header p { margin: 0; color: var(--soft) } header b { font-weight: 650 }
h1 { font-size: clamp(1.5rem, 4vw, 2.2rem); line-height: 1.2; letter-spacing: -.02em; margin: .2em 0 .6em }
h2 { font-size: 1.25rem; letter-spacing: -.01em; margin: 2em 0 .5em; scroll-margin-top: 1em }
h2 small { color: var(--soft); font-weight: 400 }
nav { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); margin-bottom: 14px }
nav > * { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 10px 14px; color: var(--soft);
 text-decoration: none; font-size: .9rem } nav b { display: block; font-size: 1.6rem; line-height: 1.2; color: var(--ink) }
nav a { color: var(--link) } nav a.added b { color: var(--come) } nav a.removed b { color: var(--gone) }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 4px 16px; overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .92rem }
th, td { text-align: left; padding: 8px 16px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top; font-weight: 400 }
tr:last-child > * { border-bottom: 0 } thead th { color: var(--soft); font-size: .82rem; border-bottom: 1px solid var(--line) }
tbody th { font-weight: 600; min-width: 6em; max-width: 14em } td { white-space: pre-wrap; unicode-bidi: isolate; min-width: 8em }
td:has(> code:only-child) { white-space: nowrap } .same { color: var(--soft) } .rows td { width: 42% }
del, ins { border-radius: 4px; padding: 0 .15em; unicode-bidi: isolate; -webkit-box-decoration-break: clone }
del { background: var(--gonebed); color: var(--gone) }
ins { background: var(--comebed); color: var(--come); text-underline-offset: .15em }
code { font: .82em ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; background: var(--bed); border-radius: 5px;
 padding: .1em .35em } i { color: var(--soft) } p.more { color: var(--soft); margin: .6em 0 }
@media (max-width: 640px) { .rows thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden }
 .asked td::before { content: "answer"; display: block; color: var(--soft); font-size: .8rem }
 .asked td:first-of-type::before { content: "prompt" } .rows tr { display: block; padding: 8px 0;
 border-bottom: 1px solid var(--line) } .rows tr > * { display: block; border: 0; padding: 2px 0; width: auto; max-width: none } }
@media print { body { background: #fff } .card { border: 0 } tr { break-inside: avoid } }
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
    """The page of a difference (None: to the draft): counts, topics, new words, then rows side by side."""
    found = changed.difference
    name = f"{a.model}/draft" if b is None else b.id
    rows = sum(n for what, n in found.counts.items() if what not in ("removed", "moved"))
    last = f"{_name(name)}<td>not frozen</td>{_number(rows)}<td></td>" if b is None else _version(b)
    title = f"{escape(a.id)} → {escape(name)}"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    head += "base-uri 'none'; form-action 'none'\">"
    body = [
        f"<header><p><b>Tunekeeper</b> · what changed in the data of {escape(a.model)}</p><h1>{title}</h1></header>",
        _counts(found),
        _table(("version", "frozen", "rows", "digest"), [_version(a), last], "The two versions", "few"),
        *_sections(changed, a.id, name),
    ]
    style = f"<title>{title}</title><style>{_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{style}</head>\n<body><main>\n' + "\n".join(
        [*body, "</main></body></html>\n"]
    )


def _counts(found: Difference) -> str:
    """How many rows of each kind, each a way to its section."""
    tiles = []
    for what in _COUNTS:
        n, label = found.counts.get(what, 0), {"metadata": "other metadata"}.get(what, what)
        inside = f'class="{what}"><b>{n:,}</b>{label}'
        tiles.append(f'<a href="#{what}" {inside}</a>' if n and what != "unchanged" else f"<div {inside}</div>")
    return f'<nav aria-label="Kinds of change">{"".join(tiles)}</nav>'


def _sections(changed: Changes, a: str, b: str) -> Iterator[str]:
    found = changed.difference
    before, after = {e.id: e for e in changed.old}, {e.id: e for e in changed.new}
    shifts = (f"{_name(topic)}{_number(x)}{_number(y)}" for topic, (x, y) in found.topics.items())
    yield from _section("topics", "Topics", ("topic", a, b), shifts, len(found.topics))
    if found.recency is not None:
        yield from (f"<h2>Recency</h2><p>{_text(each)}</p>" for each in ages.as_text(*found.recency))
    if found.new_words:
        yield f"<h2>New words</h2><p>{', '.join(map(_text, found.new_words))}</p>"
    edits = (_edit(edit) for edit in found.edited)
    yield from _section("edited", "Edited", ("id", "prompt", "answer"), edits, len(found.edited))
    relabels = (f"{_name(each.id)}<td>{_relabelled(relabelled(each))}</td>" for each in found.metadata)
    yield from _section("metadata", "Other metadata", ("id", "from, to"), relabels, len(found.metadata))
    yield from _section("added", "Added", ("id", "prompt", "answer"), _rows(found.added, after), len(found.added))
    yield from _section("removed", "Removed", ("id", "prompt", "answer"), _rows(found.removed, before), len(found.removed))
    moved = (f"{_name(id)}<td>{_sides(before.get(id))}</td>" for id in found.moved)
    yield from _section("moved", "Moved to the other side", ("id", "from, to"), moved, len(found.moved))


def _section(id: str, title: str, names: Sequence[str], rows: Iterator[str], count: int) -> list[str]:
    """A heading and as many rows as the page takes of them; nothing where there are none."""
    if not count:
        return []
    shown, size = list[str](), 0
    for row in islice(rows, MOST):
        shown.append(row)
        size += len(row)
        if size > MOST_BYTES:
            break
    left = f"and {count - len(shown):,} more, which tunekeeper data diff --json names" if count > len(shown) else ""
    more = f'<p class="more">{left}</p>' if left else ""
    kind = "few" if id == "topics" else "rows asked" if "answer" in names else "rows"
    table = _table(names, shown, title, kind)
    return [f'<h2 id="{id}">{escape(title)} <small>({count:,})</small></h2>', table + more]


def _table(names: Sequence[str], rows: Iterable[str], label: str, kind: str = "rows") -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in names)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    # What may have to be scrolled can be reached with the keyboard.
    return f'<div class="card" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _version(version: DatasetVersion) -> str:
    made = f"{version.created:%Y-%m-%d %H:%M}" if version.created else "–"
    return f"{_name(version.id)}<td>{made}</td>{_number(version.examples)}<td><code>{escape(version.digest)}</code></td>"


def _name(text: str) -> str:
    return f'<th scope="row">{_text(text, 80)}</th>'


def _number(n: int) -> str:
    return f"<td>{n:,}</td>"


def _rows(ids: Sequence[str], known: Mapping[str, Row]) -> Iterator[str]:
    for row in map(known.__getitem__, ids):
        yield f"{_name(row.id)}<td>{_text(prompt_of(row.messages))}</td><td>{_text(answer_of(row.messages))}</td>"


def _edit(edit: Edit) -> str:
    """An edited row: its prompt and its answer, and below them what else of it changed."""
    prompts, answers = ((say(edit.before), say(edit.after)) for say in (prompt_of, answer_of))
    others = [f"\n<i>{_text(what, 40)}:</i> {_words(x, y)}" for what, x, y in elsewhere(edit)[:MOST_CHANGES]]
    return f"{_name(edit.id)}<td>{_words(*prompts)}</td><td>{_words(*answers)}{''.join(others)}</td>"


def _relabelled(each: Sequence[str]) -> str:
    left = f"\n<i>… and {len(each) - MOST_CHANGES} more</i>" if len(each) > MOST_CHANGES else ""
    return "\n".join(_text(line, 300) for line in each[:MOST_CHANGES]) + left


def _text(text: str, most: int = MOST_TEXT) -> str:
    """A text to be shown, `most` characters of it at most."""
    left = f" <i>… {len(text) - most:,} more characters</i>" if len(text) > most else ""
    return escape(text[:most]).translate(_SHOWN) + left


def _words(before: str, after: str) -> str:
    """The change of a text, words that went in <del> and words that came in <ins>, with some words around each."""
    if before == after:
        return f'<span class="same">{_text(after)}</span>'
    pieces, told, changes_ = word_pieces(before, after, _PAIRS), [], 0
    for place, (old, new) in enumerate(pieces):
        if old == new:
            told.append(_around(old, place > 0, place < len(pieces) - 1))
            continue
        changes_ += 1
        if changes_ > MOST_CHANGES:
            told.append(f"<i>… {sum(x != y for x, y in pieces[place:]):,} more changes</i>")
            break
        told += [f"<del>{_text(old)}</del>"] if old else []
        told += [f"<ins>{_text(new)}</ins>"] if new else []
    return " ".join(told) if changes_ else "<i>only spaces or line ends changed</i>"


def _around(text: str, behind: bool, ahead: bool) -> str:
    """Words that stay: those next to a change behind them or ahead."""
    words = text.split(" ")
    if len(words) <= 2 * AROUND + 5:
        return _text(text)
    first, last = words[: AROUND * behind], words[-AROUND if ahead else len(words) :]
    left = f"<i>… {len(words) - len(first) - len(last):,} words …</i>"
    return " ".join(each for each in (_text(" ".join(first)), left, _text(" ".join(last))) if each)


def _sides(row: Row | None) -> str:
    if row is None:
        return "–"
    return "learned from → held out" if row.split == "train" else "held out → learned from"
