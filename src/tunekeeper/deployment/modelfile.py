"""Ollama's Modelfile: what a person gives to `ollama create` by hand, written so that it is read back as it was meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.publish import whole_or_absent

FENCE = '"""'


@dataclass(frozen=True, kw_only=True, slots=True)
class Modelfile:
    """The commands of a Modelfile."""

    model: str
    """FROM: path of the GGUF file, relative to the Modelfile."""
    template: str
    """TEMPLATE: Go template."""
    adapter: str | None = None
    """ADAPTER: path of the adapter's GGUF file."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """PARAMETER: name → value, or values."""
    system: str | None = None
    """SYSTEM: system prompt."""
    messages: tuple[dict[str, Any], ...] = ()
    """MESSAGE: turns that every conversation begins with."""

    def commands(self) -> list[tuple[str, str]]:
        """Command and value, in order; what `read` gives for the written text."""
        found = [("from", self.model)]
        found += [("adapter", self.adapter)] if self.adapter else []
        found.append(("template", self.template))
        for name, value in self.parameters.items():
            found += [(name, _number(each)) for each in (value if isinstance(value, list | tuple) else [value])]
        found += [("system", self.system)] if self.system else []
        return found + [(f"message {message['role']}", str(message["content"])) for message in self.messages]

    def text(self) -> str:
        """The file's text. Raises ArtifactError for a value that a Modelfile cannot hold."""
        lines = [f"{_keyword(command)} {_quoted(value)}\n" for command, value in self.commands()]
        text = "".join(lines)
        try:
            same = read(text) == self.commands()
        except ArtifactError:
            same = False
        if not same:
            raise ArtifactError(
                'a Modelfile cannot hold this: a line of the template, the system prompt or a stop text ends with """',
                fix="push it with --endpoint, which needs no Modelfile",
            )
        return text


def write(path: Path, modelfile: Modelfile) -> Path:
    """Write a Modelfile, whole or not at all; its path. Raises ArtifactError, DiskFull."""
    text = modelfile.text()
    with whole_or_absent(path) as part:
        part.write_bytes(text.encode("utf-8"))
    return path


def read(text: str) -> list[tuple[str, str]]:
    """Command and value as Ollama reads them: a value ends at the first line end where its quotes are closed."""
    found: list[tuple[str, str]] = []
    rest = text
    while rest := rest.lstrip():
        if rest.startswith("#"):
            rest = rest.partition("\n")[2]
            continue
        word, rest = _word(rest)
        if word.lower() in ("parameter", "message"):
            name, rest = _word(rest)
            word = name if word.lower() == "parameter" else f"message {name}"
        value, rest = _value(rest)
        found.append((word.lower(), value))
    return found


def _keyword(command: str) -> str:
    word, _, role = command.partition(" ")
    if word in ("from", "adapter", "template", "system", "message"):
        return f"{word.upper()} {role}".rstrip()
    return f"PARAMETER {command}"


def _number(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(value: str) -> str:
    plain = value == value.strip() and "\n" not in value and "\r" not in value and value and value[0] != '"'
    return value if plain else f"{FENCE}{value}{FENCE}"


def _word(text: str) -> tuple[str, str]:
    if not text.strip():
        raise ArtifactError("Modelfile: a command without its name and value")
    word = text.split(maxsplit=1)[0]
    return word, text.lstrip()[len(word) :]


def _value(text: str) -> tuple[str, str]:
    at = 0
    while True:
        end = next((i for i in range(at, len(text)) if text[i] in "\r\n"), len(text))
        found = _unquoted(text[:end].strip())
        if found is not None and (found or text[:end].strip()):
            return found, text[end:]
        if end >= len(text):
            raise ArtifactError("Modelfile: a value is missing or its quotes are not closed")
        at = end + 1


def _unquoted(text: str) -> str | None:
    """The value of a text; None while its quotes are open."""
    if text.startswith(FENCE):
        return text[3:-3] if len(text) >= 6 and text.endswith(FENCE) else None
    if text.startswith('"'):
        return text[1:-1] if len(text) >= 2 and text.endswith('"') else None
    return text
