"""Tokenizers as they lie beside a checkpoint: what their files say, token ids without torch.

Reading is bounded and runs no code; `auto_map` (code that a checkpoint brings along) is ignored here and refused at export.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Fast

MAX_FILE = 64 << 20
_MARKS = {"{": 200_000, "[": 2_000_000, ":": 3_000_000, ",": 8_000_000}
"""What JSON is made of → how many of it a tokenizer of half a million tokens has at most: a few bytes may be an object of 100."""
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What tokenizer.json, tokenizer_config.json and the chat template of one folder say."""

    folder: Path
    """Where they lie."""
    tokenizer: dict[str, Any]
    """Content of tokenizer.json."""
    config: dict[str, Any] = field(default_factory=dict)
    """Content of tokenizer_config.json; empty when it is missing."""
    template: str | None = None
    """Text of the chat template; None when there is none."""

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Token text → id, added tokens included."""
        found = {str(token): int(id) for token, id in dict(self.tokenizer["model"].get("vocab") or {}).items()}
        return found | {added["content"]: int(added["id"]) for added in self.added}

    @property
    def added(self) -> list[dict[str, Any]]:
        """The added tokens, in order."""
        return list(self.tokenizer.get("added_tokens") or ())

    def special(self) -> dict[str, str]:
        """The special tokens that are set, e.g. `eos_token` → its text."""
        found = {}
        for name in SPECIAL:
            value = self.config.get(name)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[name] = text
        return found

    def id_of(self, name: str) -> int | None:
        """Id of the special token called `name`; None when it is not set or not in the vocabulary."""
        text = self.special().get(name)
        return None if text is None else self.vocabulary.get(text)

    @property
    def digest(self) -> str:
        """Digest of tokenizer.json."""
        return digest_file(self.folder / "tokenizer.json")

    @property
    def template_digest(self) -> str | None:
        """Digest of the chat template's text."""
        return None if self.template is None else digest_bytes(self.template.encode())

    @cached_property
    def fast(self) -> Fast:
        """The tokenizer itself."""
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError(
                f"{self.folder / 'tokenizer.json'}: {error}", fix="put back the tokenizer.json that came with the weights"
            ) from error

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        """The token ids of a text; special tokens written in it are recognised."""
        return list(self.fast.encode(text, add_special_tokens=add_special).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(self.fast.decode(list(ids), skip_special_tokens=True))


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """What the folder says. Raises ArtifactError when tokenizer.json is missing, too large or broken."""
    tokenizer = _json(folder / "tokenizer.json")
    if not isinstance(tokenizer.get("model"), dict):
        raise ArtifactError(f"{folder / 'tokenizer.json'}: it has no model")
    path = folder / "tokenizer_config.json"
    config = _json(path) if path.exists() else {}
    return TokenizerFiles(folder=folder, tokenizer=tokenizer, config=config, template=_template(folder, config))


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return _text(path)
    value = config.get("chat_template")
    if isinstance(value, list):
        value = next(
            (entry.get("template") for entry in value if isinstance(entry, dict) and entry.get("name") == "default"), None
        )
    return value if isinstance(value, str) else None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE:
            raise ArtifactError(f"{path}: larger than {MAX_FILE >> 20} MiB")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8") from error


def _json(path: Path) -> dict[str, Any]:
    text = _text(path)
    for mark, most in _MARKS.items():
        if (count := text.count(mark)) > most:
            raise ArtifactError(f"{path}: {count} times {mark!r}, more than any tokenizer has")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: not an object")
    return value
