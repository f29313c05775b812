"""Tokenizers as they lie beside a checkpoint: what their files say, token ids without torch.

Reading is bounded and runs no code; `auto_map` (code that a checkpoint brings along) is ignored here and refused at export.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file, digest_json
from tunekeeper.text import anew, toolcalls
from tunekeeper.text.rendering import render

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Fast

MAX_FILE = 64 << 20
_MARKS = {"{": 200_000, "[": 2_000_000, ":": 3_000_000, ",": 8_000_000}
"""What JSON is made of → how many of it a tokenizer of half a million tokens has at most: a few bytes may be an object of 100."""
OLDER = ("tokenizer.model", "vocab.json", "tekken.json")
"""Files of which transformers makes a tokenizer.json."""
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
_STEPS = ("pretokenizers", "processors", "normalizers", "decoders", "single", "pair")
"""Fields of tokenizer.json that hold steps, one after the other."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What tokenizer.json, tokenizer_config.json and the chat template of one folder say."""

    folder: Path
    """Where they lie."""
    tokenizer: dict[str, Any]
    """Content of tokenizer.json."""
    config: dict[str, Any] = field(default_factory=dict)
    """Content of tokenizer_config.json, and of special_tokens_map.json where that counts; empty when they are missing."""
    template: str | None = None
    """Text of the chat template; None when there is none."""
    tool_template: str | None = None
    """Text of the template that takes its place where tools are given (`tool_use`); None where one does for all."""
    anew: bool = False
    """Whether transformers makes it anew, so that `tokenizer` is not what tokenizer.json says word for word."""
    known: bool = False
    """Whether it is known for certain that transformers makes just this of it."""

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Token text → id, added tokens included."""
        vocab = self.tokenizer["model"].get("vocab") or {}
        if isinstance(vocab, list):  # pairs of a token and its score, in the order of their ids
            vocab = {token: id for id, (token, _) in enumerate(vocab)}
        found = {str(token): int(id) for token, id in vocab.items()}
        return found | {added["content"]: int(added["id"]) for added in self.added}

    @cached_property
    def added(self) -> list[dict[str, Any]]:
        """The added tokens, in order: those of tokenizer.json, and those that only the settings name."""
        if not self.anew and not self.unlisted:
            return list(self.tokenizer.get("added_tokens") or ())
        decoder = sorted(self.fast.get_added_tokens_decoder().items())
        return [{"id": id, "content": token.content} | {key: getattr(token, key) for key in anew.FLAGS} for id, token in decoder]

    def special(self) -> dict[str, str]:
        """The special tokens that are set, e.g. `eos_token` → its text."""
        return anew.special(self.config)

    def id_of(self, name: str) -> int | None:
        """Id of the special token called `name`; None when it is not set or not in the vocabulary."""
        text = self.special().get(name)
        return None if text is None else self.vocabulary.get(text)

    def template_with(self, tools: object) -> str | None:
        """The template that renders a conversation with these tools, if any; None without one."""
        return self.tool_template or self.template if tools else self.template

    def prepared(self, messages: toolcalls.Messages) -> list[dict[str, Any]]:
        """The messages as the template is given them: tool calls as servers give them, see `text.toolcalls`."""
        if toolcalls.has_texts(messages) and self._wants_objects:
            messages = toolcalls.with_objects(messages)
        if toolcalls.has_silent(messages) and self._wants_text:
            messages = toolcalls.with_texts(messages)
        return [dict(message) for message in messages]

    @cached_property
    def _wants_objects(self) -> bool:
        return toolcalls.wants_objects(self._rendered)

    @cached_property
    def _wants_text(self) -> bool:
        return toolcalls.wants_text(self._rendered, {} if self._wants_objects else "{}")

    def _rendered(self, messages: list[dict[str, Any]]) -> str:
        return render(self.template or "", messages, add_generation_prompt=False, special=self.special())

    @property
    def digest(self) -> str:
        """Digest of tokenizer.json."""
        return digest_file(self.folder / "tokenizer.json")

    @property
    def template_digest(self) -> str | None:
        """As `template_digest`, of these templates."""
        return template_digest(self.template, self.tool_template)

    @cached_property
    def fast(self) -> Fast:
        """The tokenizer itself, as transformers makes it out of both files: what somebody cut or filled up to when they saved it
        does not count, and a token that only the settings name is one."""
        from tokenizers import Tokenizer

        try:
            if self.anew:
                found = Tokenizer.from_str(json.dumps(self.tokenizer | {"added_tokens": []}))
                found.add_tokens([_token(each["content"], each) for each in self.tokenizer["added_tokens"]])
            else:
                found = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError(
                f"{self.folder / 'tokenizer.json'}: {error}", fix="put back the tokenizer.json that came with the weights"
            ) from error
        found.no_truncation()
        found.no_padding()
        found.add_tokens([_token(text, flags) for text, flags in self.unlisted.items()])
        found.encode_special_tokens = self.config.get("split_special_tokens") is True
        return found

    @cached_property
    def unlisted(self) -> dict[str, dict[str, Any]]:
        """The tokens that the settings name and tokenizer.json has not among the added ones: text → flags."""
        listed = {added["content"] for added in self.tokenizer.get("added_tokens") or ()}
        return {text: flags for text, flags in anew.named(self.config).items() if text not in listed}

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        """The token ids of a text; special tokens written in it are recognised."""
        return list(self.fast.encode(text, add_special_tokens=add_special).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(self.fast.decode(list(ids), skip_special_tokens=True))


def _token(text: str, flags: dict[str, Any]) -> AddedToken:
    from tokenizers import AddedToken

    return AddedToken(text, **{flag: bool(flags[flag]) for flag in anew.FLAGS if flag in flags})


def read_tokenizer(folder: Path) -> TokenizerFiles:
    """What the folder says. Raises ArtifactError when tokenizer.json is missing, too large or broken."""
    if not (folder / "tokenizer.json").exists() and (other := next((n for n in OLDER if (folder / n).exists()), None)):
        load = f"from transformers import AutoTokenizer as A; A.from_pretrained('{folder}').save_pretrained('{folder}')"
        raise ArtifactError(f"{folder}: no tokenizer.json, only {other}", fix=f'python -c "{load}"')
    tokenizer = _json(folder / "tokenizer.json")
    if not isinstance(tokenizer.get("model"), dict):
        raise ArtifactError(f"{folder / 'tokenizer.json'}: it has no model")
    files = read_settings(folder)
    odd = _odd_model(tokenizer) or _odd_steps({key: value for key, value in tokenizer.items() if key != "model"})
    if odd:
        raise ArtifactError(f"{folder / 'tokenizer.json'}: {odd}", fix="put back the tokenizer.json that came with the weights")
    model = _model_of(folder)
    own = anew.SPECIAL.get(anew.class_of(tokenizer, files.config, model) or "", {})
    config = own | files.config
    loaded = anew.as_loaded(tokenizer, config, model)
    known = anew.known(tokenizer, config, model)
    return replace(files, tokenizer=loaded, config=config, anew=loaded is not tokenizer, known=known)


def _model_of(folder: Path) -> dict[str, Any]:
    """What config.json says of the model beside a tokenizer; empty where there is none that can be read."""
    try:
        return _json(folder / "config.json")
    except ArtifactError:
        return {}


def read_settings(folder: Path) -> TokenizerFiles:
    """What the folder says beside tokenizer.json, in whose place stands an empty one. Raises ArtifactError."""
    config, older = (_json(path) if path.exists() else {} for path in (folder / name for name in _SETTINGS))
    config = anew.settled(config, older)
    named = _templates(folder, config)
    return TokenizerFiles(
        folder=folder,
        tokenizer={"model": {}},
        config=config,
        template=named.get("default"),
        tool_template=named.get("tool_use"),
    )


def read_templates(folder: Path) -> dict[str, str]:
    """Every chat template of the folder by its name, as transformers takes them: `default`, or `tool_use` where there are tools
    and a template of that name. Raises ArtifactError for a file that cannot be read."""
    path = folder / "tokenizer_config.json"
    return _templates(folder, _json(path) if path.exists() else {})


def template_digest(template: str | None, tool_template: str | None) -> str | None:
    """Digest of a chat template's text; where tools have one of their own, of the JSON {default, tool_use} of both; None without
    a template."""
    if template is None:
        return None
    return (
        digest_bytes(template.encode())
        if tool_template is None
        else digest_json({"default": template, "tool_use": tool_template})
    )


def _templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Files of their own, where there are any, stand in the place of what the settings name."""
    files = {"default": folder / "chat_template.jinja"} | {
        path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))
    }
    found = {name: _text(path) for name, path in files.items() if path.exists()}
    if found:
        return found
    told = config.get("chat_template")
    named = (
        {"default": told}
        if not isinstance(told, list)
        else {str(entry.get("name")): entry.get("template") for entry in told if isinstance(entry, dict)}
    )
    return {name: text.encode("utf-8", "replace").decode() for name, text in named.items() if isinstance(text, str)}


def _odd_model(tokenizer: dict[str, Any]) -> str:
    """What is no vocabulary of a tokenizer.json; empty where it is one."""
    added, vocab = tokenizer.get("added_tokens") or [], tokenizer["model"].get("vocab") or {}
    if not isinstance(added, list) or not all(
        isinstance(each, dict) and type(each.get("id")) is int and isinstance(each.get("content"), str) for each in added
    ):
        return "added_tokens is no list of tokens with an id and a content"
    if isinstance(vocab, dict):
        return "" if all(type(id) is int for id in vocab.values()) else "its vocab is no mapping of tokens to whole numbers"
    pairs = isinstance(vocab, list) and all(isinstance(each, list) and len(each) == 2 for each in vocab)
    return "" if pairs else "its vocab is no mapping of tokens to whole numbers"


def _odd_steps(value: Any) -> str:
    """The first step of a normalizer, pre-tokenizer or post-processor that is written as none is; empty where there is none."""
    if isinstance(value, list):
        return next(filter(None, map(_odd_steps, value)), "")
    if not isinstance(value, dict):
        return ""
    for key, each in value.items():
        fits = isinstance(each, list) and all(isinstance(step, dict) for step in each)
        if key in _STEPS and not fits:
            return f"{key} is no list of steps"
        if key in ("SpecialToken", "Sequence") and not isinstance(each, dict):
            return f"{key} names no token"
    return next(filter(None, map(_odd_steps, value.values())), "")


def _text(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise ArtifactError(f"{path}: not a plain file")  # a pipe would be waited for
        if found.st_size > MAX_FILE:
            raise ArtifactError(f"{path}: larger than {MAX_FILE >> 20} MiB")
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        way = "name the folder of a checkpoint, with the tokenizer.json that came with its weights"
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})", fix=way) from error
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
