"""What is wrong with rows by themselves: each alone, compared with each other, and the set as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import balance, contradictions, coverage, duplicates, filerows, language, quality, sides, tallies, unended
from tunekeeper.data.config import Config
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.quality import CountTokens
from tunekeeper.data.redacting import redactor_of
from tunekeeper.text.fingerprints import text_of
from tunekeeper.text.redaction import Redactor


def inspect(
    examples: Sequence[Example],
    section: Config,
    *,
    context: int | None = None,
    count: CountTokens | None = None,
    format: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Every check that needs the rows alone. `format`: of the model's answers."""
    found: list[Finding] = []
    redactor = redactor_of(section)
    for example in examples:
        found += quality.examine(example, section, context=context, count=count, format=format)
        found += personal(example, redactor)
    found += compared(examples, section)
    found += language.switched(examples)
    cut = {each.id for each in found if each.kind == "truncated"}
    found += [each for each in unended.unended(examples) if each.id not in cut]
    return found + (balance.stale_vocabulary(examples, section.glossary) if section.glossary else [])


def compared(examples: Sequence[Example], section: Config) -> list[Finding]:
    """What a comparison of the rows with each other finds: duplicates, contradictions, leaks and bias between the sides."""
    if isinstance(examples, filerows.FileRows):
        return filerows.compared(examples, section)
    found = duplicates.exact_duplicates(examples)
    found += duplicates.near_duplicates(examples, section.near_duplicate)
    found += contradictions.contradictions(examples, section.near_duplicate)
    train, held = [e for e in examples if e.split == "train"], [e for e in examples if e.split == "eval"]
    found += coverage.leaks(train, held, section.leak_similarity, where="the held-out side")
    return found + sides.side_bias(map(sides.traits_of, examples))


def personal(example: Example, redactor: Redactor) -> list[Finding]:
    """A finding when the row still holds personal data of the configured kinds."""
    total: dict[str, int] = {}
    for message in example.messages:
        for kind, n in redactor.redact(text_of(message.get("content")))[1].items():
            total[kind] = total.get(kind, 0) + n
    return [finding("pii", example, ", ".join(f"{kind} {n}" for kind, n in sorted(total.items())))] if total else []


def of_whole(tally: tallies.Tally, spread: balance.Balance, section: Config) -> list[Finding]:
    """What is wrong with a set as a whole, by what was counted of its rows."""
    made_up = tallies.synthetic_only(tally) + tallies.synthetic_share(tally, section)
    return made_up + tallies.recency(tally, section) + balance.imbalance(spread, tally.rows, section)
