"""Who answers which of the 10,000 buckets: pure arithmetic on ranges.

A row stores ranges, not cumulative weights, so that a slot grows only out of the champion's buckets and shrinks only back into
them: raising a weight never moves a key back, whatever the number of slots.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunekeeper.core.errors import UserError

BUCKETS = 10_000
Ranges = tuple[tuple[int, int], ...]
FULL: Ranges = ((0, BUCKETS),)


def weight(ranges: Ranges) -> int:
    """Buckets in `ranges`."""
    return sum(high - low for low, high in ranges)


def reallocate(held: Mapping[str, Ranges], weights: Mapping[str, int], champion: str) -> dict[str, Ranges]:
    """The ranges after giving each slot its weight.

    `held`: slot → ranges now (slots not named hold nothing; buckets that nobody holds are the champion's). `weights`: slot →
    ten-thousandths for every slot except the champion, who keeps the rest. Raises UserError when they do not
    fit.
    """
    wanted = {slot: count for slot, count in weights.items() if slot != champion}
    if any(count < 0 for count in wanted.values()) or sum(wanted.values()) > BUCKETS:
        raise UserError(f"weights {dict(weights)} do not fit into {BUCKETS} ten-thousandths")
    kept = {slot: _first(held.get(slot, ()), wanted.get(slot, 0)) for slot in wanted}
    free = _free(kept)
    result: dict[str, Ranges] = {}
    for slot, count in wanted.items():
        taken = _first(free, count - weight(kept[slot]))
        free = _without(free, taken)
        result[slot] = _merge(kept[slot] + taken)
    result[champion] = _merge(free)
    return result


def owner(held: Mapping[str, Ranges], bucket: int) -> str | None:
    """The slot that holds `bucket`."""
    for slot, ranges in held.items():
        if any(low <= bucket < high for low, high in ranges):
            return slot
    return None


def _first(ranges: Ranges, count: int) -> Ranges:
    taken: list[tuple[int, int]] = []
    for low, high in ranges:
        if count <= 0:
            break
        taken.append((low, min(high, low + count)))
        count -= taken[-1][1] - low
    return tuple(taken)


def _free(kept: Mapping[str, Ranges]) -> Ranges:
    free: Ranges = FULL
    for ranges in kept.values():
        free = _without(free, ranges)
    return free


def _without(ranges: Ranges, gone: Ranges) -> Ranges:
    rest = list(ranges)
    for cut_low, cut_high in gone:
        pieces = [((low, min(high, cut_low)), (max(low, cut_high), high)) for low, high in rest]
        rest = [piece for pair in pieces for piece in pair if piece[0] < piece[1]]
    return tuple(rest)


def _merge(ranges: Ranges) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and merged[-1][1] == low:
            merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)
