"""A chat template as Ollama needs it: the Go template that writes what the training template writes, proven, or a refusal.

The training template is a program; what it does is found by rendering marked conversations and looking at what stands between
the marks. The Go template made of that is then rendered beside it on other conversations: one difference, and it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment import gotemplate
from tunekeeper.deployment.gotemplate import literal
from tunekeeper.text.rendering import render

Message = Mapping[str, Any]
INSTEAD = "serve it with llama.cpp or vLLM, or give Ollama's template with --template FILE"
_DAYS = (datetime(2024, 2, 3), datetime(2031, 11, 28))  # noqa: DTZ001 a day on the calendar, as templates print it
_TRICKY = ("What now?", 'Say "hello" to {{ .Name }} {% raw %}', "Größe, 你好 and 🎉\n\nsecond line", "back\\slash \\n {", "a\tb")
_EDGED = "  Leading and trailing spaces \n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What a training template and its tokenizer say."""

    template: str
    """Jinja text."""
    special: Mapping[str, str]
    """bos_token, eos_token … → text."""
    adds_bos: bool
    """Whether the server puts the first token before every prompt by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """A Go template, and what Ollama does differently around it."""

    template: str
    """Go text."""
    notes: tuple[str, ...] = ()
    """One sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """What a template puts around each message."""

    before: dict[str, str]
    """Role → text before its content."""
    after: dict[str, str]
    """Role → text after it."""
    default: str
    """What stands first in a conversation without a system message, e.g. a default one."""
    first: str | None
    """Text before the first user message where it is shorter than before later ones; None: the same."""
    joins: bool
    """Whether a system message is written into the user's turn that follows it."""
    ask: str
    """What asks for the answer."""


def convert(dialect: Dialect, samples: Sequence[tuple[list[dict[str, Any]], str]] = ()) -> Converted:
    """The Go template of a training template. `samples`: conversations with their training-time text.

    Raises ArtifactError when Ollama's language cannot say the same, with the first difference.
    """
    _check_undated(dialect)
    found = _parts(dialect)
    template = _written(found)
    return Converted(template=template, notes=check(dialect, template, samples, system="system" in found.before))


def check(
    dialect: Dialect, template: str, samples: Sequence[tuple[list[dict[str, Any]], str]] = (), *, system: bool = True
) -> tuple[str, ...]:
    """Notes about a Go template that writes what the training template writes. Raises ArtifactError with the first difference."""
    for messages in _conversations(system):
        _equal(template, messages, expected(dialect, messages))
    for messages, text in samples:
        _equal(template, messages, _without_bos(dialect, text))
    notes = [] if system else ["the training template takes no system message: Ollama leaves one out silently"]
    edged: list[dict[str, Any]] = [{"role": "user", "content": _EDGED}]
    if gotemplate.chat(template, edged) != expected(dialect, edged):
        notes.append("the training template trims white space around messages, Ollama does not: send trimmed text")
    if "tools" in dialect.template and ".Tools" not in template:
        notes.append("Ollama before 0.30 refuses requests with tools: the template written for it offers none")
    return tuple(notes)


def expected(dialect: Dialect, messages: Sequence[Message]) -> str:
    """What the server's template must write for a conversation. Raises ArtifactError when the training template refuses it."""
    return _without_bos(dialect, _rendered(dialect, messages))


def _equal(template: str, messages: list[dict[str, Any]], wanted: str) -> None:
    got = gotemplate.chat(template, messages)
    if got == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
    roles = ", ".join(str(message["role"]) for message in messages)
    raise ArtifactError(
        f"chat template: Ollama's would write {got[at : at + 24]!r} where training wrote {wanted[at : at + 24]!r} "
        f"(conversation of {roles}, character {at})",
        fix=INSTEAD,
    )


def _rendered(dialect: Dialect, messages: Sequence[Message], *, ask: bool = True, now: datetime = _DAYS[0]) -> str:
    return render(dialect.template, messages, add_generation_prompt=ask, special=dialect.special, now=lambda: now)


def _without_bos(dialect: Dialect, text: str) -> str:
    bos = dialect.special.get("bos_token")
    if not dialect.adds_bos or not bos:
        return text
    if not text.startswith(bos):
        raise ArtifactError(f"chat template: training began without {bos!r}, which Ollama puts before every prompt", fix=INSTEAD)
    return text.removeprefix(bos)


def _check_undated(dialect: Dialect) -> None:
    user = [{"role": "user", "content": "Hi"}]
    if _rendered(dialect, user, now=_DAYS[0]) != _rendered(dialect, user, now=_DAYS[1]):
        raise ArtifactError("chat template: it writes today's date, which Ollama's template cannot", fix=INSTEAD)


def _marked(roles: Sequence[str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": f"qz{number}mark{number}zq"} for number, role in enumerate(roles)]


def _gaps(dialect: Dialect, roles: Sequence[str], *, ask: bool = True) -> list[str]:
    """The texts before the first message, between neighbours, and after the last."""
    messages = _marked(roles)
    rest = _rendered(dialect, messages, ask=ask)
    gaps = []
    for message in messages:
        gap, mark, rest = rest.partition(message["content"])
        if not mark or message["content"] in rest:
            raise ArtifactError(f"chat template: it writes a {message['role']} message not once, in its place", fix=INSTEAD)
        gaps.append(gap)
    return [*gaps, rest]


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    return one[: next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))]


def _parts(dialect: Dialect) -> _Parts:
    talk = _gaps(dialect, ("user", "assistant", "user"))
    after = {
        "user": _gaps(dialect, ("user",), ask=False)[-1],
        "assistant": _gaps(dialect, ("user", "assistant"), ask=False)[-1],
    }
    # Some templates write more after the last message when no answer is asked for; what is common to both turns counts then.
    if not (talk[1].startswith(after["user"]) and talk[3].startswith(after["user"])):
        after["user"] = _shared(talk[1], talk[3])
    if not talk[2].startswith(after["assistant"]):
        after["assistant"] = talk[2].removesuffix(_shared(talk[2][::-1], talk[0][::-1])[::-1])
    before = {"assistant": talk[1].removeprefix(after["user"]), "user": talk[2].removeprefix(after["assistant"])}
    ask = talk[3].removeprefix(after["user"])
    head, first, default = _without_bos(dialect, talk[0]), None, ""
    if head.endswith(before["user"]):
        default = head.removesuffix(before["user"])
    elif before["user"].endswith(head):
        first = head
    else:
        raise ArtifactError(f"chat template: a conversation begins with {head[:24]!r}, a later turn does not", fix=INSTEAD)
    joins = False
    try:
        led = _gaps(dialect, ("system", "user", "assistant", "user"))
    except ArtifactError:
        return _Parts(before=before, after=after, default=default, first=first, joins=joins, ask=ask)
    before["system"] = _without_bos(dialect, led[0])
    if led[1].endswith(before["user"]):
        after["system"] = led[1].removesuffix(before["user"])
    else:
        after["system"], joins = led[1], True
    return _Parts(before=before, after=after, default=default, first=first, joins=joins, ask=ask)


def _written(parts: _Parts) -> str:
    """The Go text of the parts."""
    out = []
    if parts.default:
        system_first = '{{ if ne (index .Messages 0).Role "system" }}' if "system" in parts.before else ""
        out.append(system_first + literal(parts.default) + ("{{ end }}" if system_first else ""))
    if parts.joins:
        out.append("{{ $joined := false }}")
    out.append("{{ range $i, $_ := .Messages }}")
    word = "if"
    for role in ("system", "user", "assistant"):
        if role in parts.before:
            out.append(f'{{{{ {word} eq .Role "{role}" }}}}{_turn(parts, role)}')
            word = "else if"
    return "".join(out) + "{{ end }}{{ end }}" + literal(parts.ask)


def _turn(parts: _Parts, role: str) -> str:
    before, after = literal(parts.before[role]), literal(parts.after[role])
    if role == "user" and parts.first is not None:
        extra = parts.before["user"].removesuffix(parts.first)
        before = "{{ if $i }}" + literal(extra) + "{{ end }}" + literal(parts.first)
    if parts.joins and role == "user":
        before = "{{ if not $joined }}" + before + "{{ end }}{{ $joined = false }}"
    if parts.joins and role == "system":
        after += "{{ $joined = true }}"
    return before + "{{ .Content }}" + after


def _conversations(system: bool) -> list[list[dict[str, Any]]]:
    """Conversations of every usual shape, with contents that a template could trip over."""
    turns = [("user",), ("user", "assistant", "user"), ("user", "assistant", "user", "assistant", "user")]
    led = [("system", *roles) for roles in turns] if system else []
    found = []
    for number, roles in enumerate([*turns, *led] * len(_TRICKY)):
        found.append([{"role": role, "content": _TRICKY[(number + i) % len(_TRICKY)]} for i, role in enumerate(roles)])
    assert all(a["role"] != b["role"] for messages in found for a, b in pairwise(messages))  # Ollama would join neighbours
    return found
