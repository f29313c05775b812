"""The process that renders chat templates: `python -m tunekeeper.text.sandbox`, a request and its answer a line each.

A template comes with a checkpoint, so it is a program from outside. Here it sees no attribute of Python, can open no file and
no connection, and has 256 MB and a quarter of a second of processor time for one conversation: then the kernel ends the process.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

SECONDS = 0.25
"""Of this process's processor, for one conversation: a busy machine stops no template that is in order."""
READING = 1.0
"""Of the same, for a template that was not seen yet: to read 20 kB, as the longest ones have, takes a fifth of it."""
MEMORY = 256 << 20
"""Bytes of address space, Python's own included."""
_PADDING = ("format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs")
_HARMLESS = {"compile", "exec", "code.__new__", "builtins.id", "sys._getframe", "object.__getattr__", "object.__setattr__"}
"""Events of Python that turning a template into text causes; any other is something that a template has no business with."""


def main() -> None:
    """Answer requests until nobody asks any more. After its first lines this process can reach nothing outside itself."""
    for template in ("{{ raise_exception('warm') }}", "{% for m in messages %}{{ m['content'] | trim }}{% endfor %}"):
        rendered({"said": {"messages": []}, "asked": {"template": template, "variables": {}, "now": "2026-01-01"}, "room": 0})
    gc.collect()
    gc.freeze()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for nothing in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(nothing, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    sys.addaudithook(_refuse)
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(json.dumps(rendered(json.loads(line))).encode() + b"\n")
        sys.stdout.buffer.flush()


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event not in _HARMLESS:
        raise RuntimeError(f"it reached for {event}")


def rendered(request: dict[str, Any]) -> dict[str, str]:
    """`{text}` or `{error}` of one request: said (messages, tools), asked (template, variables, now in ISO), room (characters).

    Nobody handles the signal of the timer: it ends the process in the middle of whatever the template does.
    """
    asked = request["asked"]
    try:
        signal.setitimer(signal.ITIMER_PROF, READING)
        template = _compiled(asked["template"])
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        strftime = datetime.fromisoformat(asked["now"]).strftime
        pieces = template.generate(**asked["variables"], **request["said"], strftime_now=strftime)
        return {"text": _joined(pieces, request["room"])}
    except Exception as error:  # noqa: BLE001 - whatever a program from outside ends with is its own fault
        return {"error": " ".join(str(error).split())[:200] or type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _joined(pieces: Iterator[str], room: int) -> str:
    written: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > room:
            raise ValueError(f"it wrote more than {room} characters and was stopped")
        written.append(piece)
    return "".join(written)


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
        raise ValueError(f"it uses the filter {name!r}, which is not allowed")

    return refused


if __name__ == "__main__":
    main()
