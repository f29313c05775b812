"""Parity of a merged checkpoint: what transformers makes of it beside what it makes of base and adapter. Pure.

Both sides are reference transcripts of the same prompts, computed in float32. Where two greedy answers part, the log-probability
of the other side's token is not in a transcript, but the two that are bound it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.deployment import parity
from tunekeeper.deployment.transcript import Reference


def compare_merged(
    trained: Sequence[Reference], merged: Sequence[Reference], kind: str, limits: parity.Limits = parity.Limits()
) -> Parity:
    """The verdict over two transcripts of the same prompts. `kind`: type of the merged weights, f32, f16 or bf16."""
    served = {reference.id: reference for reference in merged}
    pairs = [(reference, served[reference.id]) for reference in trained if reference.id in served]
    measured = parity.Measured(
        template=_compared([_text(a.rendered, b.rendered) for a, b in pairs]),
        stop=_compared([_ending(a, b) for a, b in pairs]),
        tokenizer=_compared([_ids(a, b) for a, b in pairs]),
        plain=kind,
        merged=_gaps(pairs),
        is_quantized=False,
        sampling=parity.Compared(n=len(pairs)),
    )
    # transformers computes in float32 whatever the weights are stored in: only they are coarser in bf16.
    return parity.decide(measured, replace(limits, coarser=1.0))


def _text(a: str, b: str) -> str:
    return "" if a == b else f"training rendered {a[:60]!r}, the merged checkpoint {b[:60]!r}"


def _ids(a: Reference, b: Reference) -> str:
    if a.prompt_ids == b.prompt_ids:
        return ""
    return f"prompt {a.id}: training has {len(a.prompt_ids)} tokens, the merged checkpoint {len(b.prompt_ids)}, or others"


def _ending(a: Reference, b: Reference) -> str:
    if a.answer_ids != b.answer_ids or a.stopped == b.stopped:
        return ""  # answers that part may end where they like
    return f"answer {a.id} ends in {'training' if a.stopped else 'the merged checkpoint'} only"


def _gaps(pairs: Sequence[tuple[Reference, Reference]]) -> parity.Gaps:
    gaps: list[float] = []
    agree = equal = 0
    first = ""
    for a, b in pairs:
        same = next((i for i, (x, y) in enumerate(zip(a.answer_ids, b.answer_ids, strict=False)) if x != y), None)
        upto = min(len(a.answer_ids), len(b.answer_ids)) if same is None else same
        gaps += [abs(x - y) for x, y in zip(a.logprobs[:upto], b.logprobs[:upto], strict=True)]
        agree += upto
        equal += same is None
        if same is not None:
            gaps.append(_parted(a.logprobs[same], b.logprobs[same]))
            first = first or f"answer {a.id} differs first at token {same} of {len(a.answer_ids)}"
    mean = sum(gaps) / len(gaps) if gaps else 0.0
    return parity.Gaps(
        n=len(gaps), worst=max(gaps, default=0.0), mean=mean, agree=agree, answers=len(pairs), equal=equal, first=first
    )


def _parted(a: float, b: float) -> float:
    """The least gap, in nats, of one of two tokens where each side chose its own with log-probability `a` and `b`: on the other
    side it has at most what the chosen one has, and what that leaves."""

    def at_most(other: float) -> float:
        left = -math.expm1(min(other, 0.0))
        return min(other, math.log(left) if left > 0 else -math.inf)

    return max(0.0, a - at_most(b), b - at_most(a))


def _compared(differences: Sequence[str]) -> parity.Compared:
    seen = [text for text in differences if text]
    return parity.Compared(n=len(differences), differ=len(seen), first=seen[0] if seen else "")
