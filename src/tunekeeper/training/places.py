"""How long a text a base takes: the places that it has learned, or the length that it was made for. Headers and config tell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.training.base import read_json
from tunekeeper.training.memory import shapes

TABLES = ("wpe.weight", "embed_positions.weight", "position_embeddings.weight")
"""How the tables of places are called that a base has learned one by one."""
LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
    "context_length",
)
"""What configs call the longest text that a base was made for. A sliding window is none: what stands before it is carried on."""
STRETCHED = ("linear", "dynamic", "yarn")
"""Kinds of rotary scaling by whose factor a base takes longer texts than that; Llama 3's and LongRoPE's stand in it already."""


def places_of(folder: Path) -> int | None:
    """Tokens that a base can take where it has learned each place of a text by itself, as GPT-2 and OPT; None for one that works
    places out, which can be told of any."""
    rows = [shape[0] for name, shape in shapes(folder) if name.endswith(TABLES) and len(shape) == 2]
    if not rows:
        return None
    said = _length(_config(folder))
    return min(rows) if said is None else min(*rows, said)


def context_of(folder: Path) -> int | None:
    """Tokens of the longest text that a base was made for; None where its config does not say, as Mamba's, which knows no end."""
    config = _config(folder)
    said, scaling = _length(config), config.get("rope_scaling") or config.get("rope_parameters")
    if said is None or not isinstance(scaling, dict):
        return said
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor")
    if kind not in STRETCHED or not isinstance(factor, int | float) or not factor > 1:
        return said
    before = scaling.get("original_max_position_embeddings")
    if type(before) is int:
        return max(said, round(before * factor))  # some configs name the longer one already
    return said if str(config.get("model_type")).startswith("gemma3") else round(said * factor)


def refuse_beyond(folder: Path, longest: int) -> None:
    """Raise DataError when a conversation of `longest` tokens has more than the base has places for."""
    places = places_of(folder)
    if places is not None and longest > places:
        raise DataError(
            f"a conversation has {longest:,} tokens, and {folder} knows {places:,} places",
            fix=f"set training.max_tokens to {places}: what is longer is left out",
        )


def beyond(folder: Path, lengths: Iterable[int]) -> tuple[str, ...]:
    """What to say of conversations of so many tokens that are longer than the base was made for; nothing where none is."""
    context = context_of(folder)
    longer = [] if context is None else [length for length in lengths if length > context]
    if not longer:
        return ()
    many = "1 conversation is" if len(longer) == 1 else f"{len(longer)} conversations are"
    what = f"{many} longer than the {context:,} tokens that {folder.name} was made for, up to {max(longer):,}"
    return (f"{what}: past that it answers badly, and servers cut; `max_tokens: {context}` leaves them out",)


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    part = config.get("text_config")  # of a model that sees as well
    return config | part if isinstance(part, dict) else config


def _length(config: dict[str, Any]) -> int | None:
    return next((config[name] for name in LENGTHS if type(config.get(name)) is int and config[name] > 0), None)
