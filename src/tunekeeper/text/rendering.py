"""Chat templates: messages to the exact text a model was trained on, as transformers renders it, in a bounded sandbox.

A template comes with a checkpoint, so it is a program from outside: it sees no attribute of Python, cannot import, and is
stopped when it writes or loops too much.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import ArtifactError

if TYPE_CHECKING:
    import jinja2

MAX_TEMPLATE = 256 << 10
MAX_OUTPUT = 64 << 10
"""Bytes a template may write beyond what its messages hold."""
MAX_STEPS = 100_000
SECONDS = 0.25
"""Of this thread's processor: a busy machine stops no template that is in order."""
_PADDING = ("format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs")


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] | None = None,
    special: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = datetime.now,
) -> str:
    """The text of `messages`. `special`: bos_token, eos_token … as the tokenizer names them; `now`: for templates with a date.

    Raises ArtifactError when the template is broken, refuses the messages, or does more than a template should.
    """
    from jinja2 import TemplateError

    if len(template) > MAX_TEMPLATE:
        raise ArtifactError(f"chat template of {len(template)} characters; {MAX_TEMPLATE} are allowed")
    variables = {**(special or {}), "messages": [dict(m) for m in messages], "tools": list(tools) if tools else None}
    room = MAX_OUTPUT + 4 * len(json.dumps([variables["messages"], variables["tools"]], default=str))
    try:
        compiled = _compiled(template)
        pieces = compiled.generate(
            **variables,
            add_generation_prompt=add_generation_prompt,
            range=_Range(),
            strftime_now=lambda form: now().strftime(form),
        )
        return _joined(pieces, room)
    except (
        TemplateError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ArtifactError(f"chat template: {' '.join(str(error).split())[:200] or type(error).__name__}") from error


def _joined(pieces: Iterator[str], room: int) -> str:
    deadline = _Deadline()
    written: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > room:
            raise ArtifactError(f"chat template wrote more than {room} characters and was stopped")
        if deadline.passed():
            raise ArtifactError(f"chat template ran longer than {SECONDS} s and was stopped")
        written.append(piece)
    return "".join(written)


class _Deadline:
    """`SECONDS` of this thread, from now on. Python's search for garbage, which in a large process takes as long and may fall
    upon whoever is at work, gives them anew, a few times at most."""

    def __init__(self) -> None:
        self._until = time.thread_time() + SECONDS
        self._searches = _searches()
        self._excuses = 3

    def passed(self) -> bool:
        """Whether they are over."""
        if time.thread_time() <= self._until:
            return False
        searches = _searches()
        if searches == self._searches or not self._excuses:
            return True
        self._until, self._searches, self._excuses = time.thread_time() + SECONDS, searches, self._excuses - 1
        return False


def _searches() -> int:
    """How often this process went through all of its objects."""
    return int(gc.get_stats()[-1]["collections"])


class _Range:
    """`range` for one rendering: all of its loops share one allowance of steps and of time."""

    def __init__(self) -> None:
        self.left = MAX_STEPS
        self.deadline = _Deadline()

    def __call__(self, *bounds: int) -> range:
        asked = range(*bounds)
        self.left -= len(asked)
        if self.left < 0 or self.deadline.passed():
            raise ArtifactError("chat template loops too long and was stopped")
        return asked


@lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}…{% endgeneration %}` marks answers for training; here its content is simply rendered."""

        tags = {"generation"}

        def parse(self, parser: Any) -> CallBlock:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            block = CallBlock(self.call_method("_content"), [], [], body)
            block.set_lineno(line)
            return block

        def _content(self, caller: Callable[[], str]) -> str:
            return caller()

    class Sandbox(ImmutableSandboxedEnvironment):
        """The sandbox transformers uses, which in addition lets no operator make something huge."""

        intercepted_binops = frozenset(["*", "**", "%"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            small = (int, float)
            if operator == "%" and isinstance(left, str):
                raise SecurityError("string formatting is not allowed")
            if operator in ("*", "**") and not (isinstance(left, small) and isinstance(right, small) and abs(right) <= 1 << 20):
                raise SecurityError("only small numbers may be multiplied")
            if operator == "**" and (abs(right) > 64 or abs(left) > 1 << 64):
                raise SecurityError("only small powers are allowed")
            return super().call_binop(context, operator, left, right)

        def wrap_str_format(self, value: Any) -> None:
            """No `str.format`, not even a safe one: a width of a billion is a billion characters."""

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return attr not in _PADDING and bool(super().is_safe_attribute(obj, attr, value))

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = tojson
    for name in ("format", "center", "wordwrap", "pprint", "batch", "slice"):
        environment.filters[name] = _no_filter(name)
    environment.globals["raise_exception"] = raise_exception
    environment.globals.pop("lipsum", None)
    environment.globals.pop("cycler", None)
    return environment


def _no_filter(name: str) -> Callable[..., str]:
    def refused(*_: Any, **__: Any) -> str:
        raise ArtifactError(f"chat template uses the filter {name!r}, which is not allowed")

    return refused
