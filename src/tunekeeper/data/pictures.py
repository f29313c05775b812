"""Pictures that a row lists beside its messages (`images`): each becomes part of the message that shows it.

The message marks the place: `<image>` in its text (LLaMA-Factory, LLaVA), or a part `{"type": "image"}` (TRL). Where nothing is
marked, the pictures stand before the first question, as ms-swift and LLaVA have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MARK = "<image>"
"""What stands in a text where a picture is shown."""
_KINDS = {"iVBOR": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
"""How the bytes of a picture begin as base64 → its kind."""
_BYTES = "data:;base64,"
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""How the address of a picture ends: what else stands under such a name is no picture for sure."""


def shown(messages: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> tuple[str, ...]:
    """`images` (LLaVA: `image`), where the row has as many as its messages show, or they show none; else nothing."""
    key = "images" if row.get("images") else "image"
    if not row.get(key):  # nearly always
        return ()
    addresses = _addresses(row[key])
    places = sum(map(_places, messages))
    unmarked = not places and _first_asked(messages) is not None and all(map(_is_picture, addresses))
    return (key,) if addresses and (places == len(addresses) or unmarked) else ()


def pictured(messages: list[dict[str, Any]], row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages with each picture as a part of its message, in OpenAI's form: the same words about another one ask something
    else. Those of a row that lists more or fewer stay as they are."""
    beside = shown(messages, row)
    if not beside:
        return messages
    urls = iter(_addresses(row[beside[0]]))
    if not any(map(_places, messages)):
        first = _first_asked(messages)
        return [{**each, "content": _before(urls, each["content"])} if at == first else each for at, each in enumerate(messages)]
    return [{**message, "content": _filled(message["content"], urls)} if _places(message) else message for message in messages]


def _first_asked(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the first question, where it and all others are plain text; None where parts may show pictures already."""
    if any(isinstance(message.get("content"), list) for message in messages):
        return None
    asked = (place for place, each in enumerate(messages) if each.get("role") == "user" and isinstance(each.get("content"), str))
    return next(asked, None)


def _is_picture(address: str) -> bool:
    return address.startswith("data:image/") or address.partition("?")[0].casefold().endswith(_ENDINGS)


def _before(urls: Iterator[str], text: str) -> list[dict[str, Any]]:
    return [*map(_part, urls), *([{"type": "text", "text": text}] if text else [])]


def _addresses(images: Any) -> list[str]:
    """The address of each picture; none where one has none."""
    found = [_address(image) for image in (images if isinstance(images, list) else [images])]
    return [address for address in found if address] if all(found) else []


def _address(image: Any) -> str:
    """Where a picture lies, or its bytes as an address: a text, or as `datasets` stores one (`bytes`, `path`)."""
    if isinstance(image, dict):
        image = next((image[key] for key in ("bytes", "url", "path") if isinstance(image.get(key), str) and image[key]), "")
    if not isinstance(image, str):
        return ""
    coded = image.removeprefix(_BYTES)
    kind = next((kind for begin, kind in _KINDS.items() if coded.startswith(begin)), "png")
    return f"data:image/{kind};base64,{coded}" if image.startswith(_BYTES) else image


def _places(message: Mapping[str, Any]) -> int:
    """How many pictures a message shows."""
    content = message.get("content")
    if isinstance(content, list):
        return sum(map(_is_place, content))
    return content.count(MARK) if isinstance(content, str) else 0


def _is_place(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image" and not any(part.get(k) for k in ("image", "url", "source"))


def _filled(content: Any, urls: Iterator[str]) -> list[Any]:
    if isinstance(content, list):
        return [_part(next(urls)) if _is_place(part) else part for part in content]
    first, *others = (words.strip() for words in content.split(MARK))
    made: list[dict[str, Any]] = [{"type": "text", "text": first}] if first else []
    for words in others:
        made += [_part(next(urls)), *([{"type": "text", "text": words}] if words else [])]
    return made


def _part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
