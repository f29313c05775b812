"""What was found in a text, of several kinds, put together: places in order, without overlaps."""

from __future__ import annotations

from tunekeeper.text.numbers import Span

Found = tuple[int, int, str]
"""Start, end and kind."""


def with_unread(found: list[Found], unread: list[Span]) -> list[Found]:
    """What was found and what was not looked through: the latter covers whatever it touches."""
    merged: list[Found] = []
    for start, end, kind in sorted([*found, *((*span, "unread") for span in unread)]):
        if merged and start < merged[-1][1]:
            first, last, _ = merged.pop()
            merged.append((first, max(last, end), "unread"))
        else:
            merged.append((start, end, kind))
    return merged


def merge(taken: list[Found], fresh: list[Span], kind: str) -> list[Found]:
    """`taken` and those of `fresh` that touch none of them, as `kind`; both in order, and so is what comes out."""
    merged: list[Found] = []
    queue = iter(sorted(fresh))
    span = next(queue, None)
    for old in taken:
        while span is not None and span[0] < old[1]:
            clear = span[1] <= old[0] and (not merged or merged[-1][1] <= span[0])
            if clear:
                merged.append((*span, kind))
            span = next(queue, None)
        merged.append(old)
    while span is not None:
        if not merged or merged[-1][1] <= span[0]:
            merged.append((*span, kind))
        span = next(queue, None)
    return merged
