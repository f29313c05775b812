"""What training will see of a conversation: the rendered text and which tokens are learned. Without torch.

Rendering is ours (`text.rendering`), true to transformers; parity compares the two whenever an artifact is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, DataError
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer
from tunekeeper.training.base import embeddings, read_json
from tunekeeper.training.encode import Codec, Encoded, conversations, rendered_by
from tunekeeper.training.rows import Row, message_of, of_objective

UNFINISHED = "\ufffd"
"""How a decoder shows the first bytes of a character."""
LONGEST = 8
"""Tokens that one character has at most, of four bytes in twice as many."""
Renderer = Callable[[list[dict[str, Any]], list[dict[str, Any]], bool], str]
"""As of `Codec`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One token of a preview."""

    id: int
    """Token id."""
    text: str
    """What it adds to the text; a character that several tokens make stands with the last of them, and is empty before."""
    learned: bool
    """Whether the loss counts it."""
    weight: float = 0.0
    """How much it counts there, 0 to 1; 0 where it is not learned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """One conversation as training sees it."""

    rendered: str
    """The text the chat template makes; ends in the prompt for an answer when there is none yet."""
    tokens: tuple[Token, ...]
    """Its tokens, up to the end of the last answer; of several conversations one after the other."""
    conversations: int = 1
    """How many the row is learned as: one for each answer where the template changes an answer once it is history, two for each
    answer that a preference rejects."""

    @property
    def learned(self) -> int:
        """How many tokens the loss counts."""
        return sum(token.learned for token in self.tokens)


def codec_of(folder: Path) -> Codec:
    """The codec of a checkpoint folder. Raises ArtifactError without tokenizer or chat template."""
    files = read_tokenizer(folder)
    special = tuple(each["content"] for each in files.added if each.get("special"))
    return Codec(
        render=_renderer(files),
        tokenize=files.encode,
        ends=_ends(files),
        special=special,
        prepared=files.prepared,
        size=embeddings(folder),
    )


def _ends(files: TokenizerFiles) -> tuple[str, ...]:
    """The tokens that a server stops at: the tokenizer's own end, and those of generation_config.json and config.json."""
    ids: list[Any] = []
    for name in ("generation_config.json", "config.json"):
        told = read_json(files.folder / name).get("eos_token_id") if (files.folder / name).is_file() else None
        ids += told if isinstance(told, list) else [told]
    texts = {each["id"]: each["content"] for each in files.added}
    own = files.special().get("eos_token")
    return tuple(dict.fromkeys(end for end in (own, *(texts.get(id) for id in ids)) if end))


def preview(folder: Path, row: Row, *, generate: bool | None = None, objective: str = "sft", most: int | None = None) -> Preview:
    """The preview of a conversation under the checkpoint in `folder`.

    `generate`: whether the text ends in the prompt for an answer; None: when the last message is not an answer. `objective`: as
    in a recipe; of a preference both sides are shown. `most`: `max_tokens` of the training, None for no bound. Raises DataError
    for a row that a training would refuse or leave out.
    """
    files = read_tokenizer(folder)
    codec = codec_of(folder)
    answered = row.messages[-1]["role"] == "assistant"
    asking = not answered if generate is None else generate
    rendered = rendered_by(codec, row, list(row.messages), list(row.tools), prompt=asking)
    found = _learned(codec, row, objective) if answered and not generate else [_read(codec, rendered)]
    longest = max(len(each.ids) for each in found)
    if most is not None and longest > most:
        raise DataError(
            f"row {row.id}: its {longest:,} tokens are more than training.max_tokens ({most:,}); a training leaves it out",
            fix=f"set training.max_tokens to {longest}, or shorten the row",
        )
    tokens = [
        Token(id=id, text=text, learned=weight > 0, weight=weight)
        for each in found
        for id, text, weight in zip(each.ids, _texts(files, each.ids), each.weights or map(float, each.learned), strict=True)
    ]
    return Preview(rendered=rendered, tokens=tuple(tokens), conversations=len(found))


def _texts(files: TokenizerFiles, ids: Sequence[int]) -> Iterator[str]:
    """What each token adds to the text of those before it: alone, some decoders drop a word's space, and a part of a character
    is none."""
    begin = known = 0  # a few tokens back, and up to where they have been told
    for place in range(len(ids)):
        before = files.fast.decode(ids[begin:known], skip_special_tokens=False)
        text = files.fast.decode(ids[begin : place + 1], skip_special_tokens=False)
        if text.endswith(UNFINISHED) and place + 1 < min(len(ids), known + LONGEST):
            yield ""
            continue
        yield text[len(before) :]
        begin, known = known, place + 1


def _learned(codec: Codec, row: Row, objective: str) -> list[Encoded]:
    pairs = of_objective([row], objective)
    return [each for pair in pairs for group in conversations(codec, pair, objective) for each in group]


def _read(codec: Codec, text: str) -> Encoded:
    """A text of which nothing is learned."""
    ids = tuple(codec.tokenize(text))
    return Encoded(ids=ids, learned=(False,) * len(ids))


def read_messages(path: Path) -> tuple[Row, bool | None]:
    """A conversation from FILE: a JSON list of messages, or an object with `messages`, `tools`, `add_generation_prompt`.

    Of a JSONL file the first line counts. Raises DataError naming the file.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"{path}: cannot be read: {why}", fix="name a JSON file that you may read") from error
    try:
        value = json.loads(text)
    except ValueError:
        value = _first_line(path, text)
    if isinstance(value, list):
        value = {"messages": value}
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{path}: holds no list of messages", fix='write [{"role": "user", "content": "…"}]')
    taken = tuple(message_of(message, f"{path}: message {number}") for number, message in enumerate(messages, 1))
    generate = value.get("add_generation_prompt")
    return Row(id=path.name, messages=taken, tools=tuple(value.get("tools") or ())), generate


def _first_line(path: Path, text: str) -> Any:
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[0]) if lines else {}
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error


def _renderer(files: TokenizerFiles) -> Renderer:
    if files.template is None:
        raise ArtifactError(f"{files.folder}: no chat template", fix="put chat_template.jinja beside tokenizer.json")

    def rendered(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        template = files.template_with(tools) or ""
        return render(
            template, files.prepared(messages), add_generation_prompt=prompt, tools=tools or None, special=files.special()
        )

    return rendered
