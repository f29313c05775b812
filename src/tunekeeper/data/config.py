"""The `data` section of models/<name>.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tunekeeper.text.names import located

Language = Literal[
    "ar", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "pl", "pt", "ro", "ru",
    "sv", "th", "tr", "uk", "vi", "zh",
]  # fmt: skip
OnTrouble = Literal["drop", "flag"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How examples of one model are read, checked, split and collected."""

    eval_share: float = 0.1
    """Part of the rows that is held out, 0 to 0.5; at least one row as soon as there are two."""
    redact: tuple[str, ...] = ("key", "email", "iban", "card", "ip", "phone")
    """Kinds of personal data replaced by placeholders before a row is stored; empty: none. `name` as well, with `names`."""
    names: dict[str, str] = field(default_factory=dict)
    """How names of persons are found where `redact` has `name`: `{detector: list, file: names.txt}`, `{detector: presidio}`, or
    a function of your own, `{detector: "package.module:function"}`; docs/privacy.md has their options."""
    redact_seal: str | None = None
    """Public key that seals what is redacted into the row, for the holder of the secret key; None keeps nothing."""
    columns: dict[str, str] = field(default_factory=dict)
    """Role → column of a CSV or JSON file, where the names cannot be guessed: `{user: ticket, assistant: answer}`."""
    max_chars: int = 32_000
    """Characters of one conversation above which it is too long, where no tokenizer counts tokens."""
    max_tokens: int | None = None
    """Tokens of one conversation above which it is too long; None takes no limit unless the command names one."""
    near_duplicate: float = 0.85
    """Jaccard similarity of word 3-grams of the whole conversation, 0 to 1, from which two rows are near duplicates."""
    contradictions: OnTrouble = "drop"
    """What an import does with rows whose prompt is answered differently elsewhere: keep the newest answer, without dates that
    of the majority, else none of them (`drop`), or keep all and only report them (`flag`)."""
    refusals: OnTrouble = "drop"
    """What an import does with answers that only refuse."""
    refusal_phrases: tuple[str, ...] = ()
    """Beginnings that make an answer a refusal, besides the usual English ones; case and runs of white space do not count."""
    truncated: OnTrouble = "drop"
    """What an import does with answers that end in the middle."""
    too_long: OnTrouble = "drop"
    """What an import does with rows above `max_tokens` or `max_chars`."""
    answer_equals_prompt: OnTrouble = "drop"
    """What an import does with answers that repeat the prompt."""
    mojibake: OnTrouble = "drop"
    """What an import does with rows whose characters were damaged on the way."""
    template_leak: OnTrouble = "drop"
    """What an import does with rows that hold pieces of a chat template, such as `<|im_start|>` or `[INST]`."""
    languages: tuple[Language, ...] = ()
    """Languages that prompts and answers may be in, e.g. `[en, de]`; empty: any. Told by script and little words, where sure."""
    language: OnTrouble = "flag"
    """What an import does with rows in another language."""
    format: OnTrouble = "flag"
    """What an import does with answers that are not in the `format` of the model."""
    pii: OnTrouble = "flag"
    """What an import and `collect` do with rows that held personal data: keep them redacted, or leave them out."""
    bad_words: tuple[str, ...] = ()
    """Words that no row should hold, in any case; empty: not looked at."""
    profanity: OnTrouble = "flag"
    """What an import does with rows that hold one of them."""
    glossary: dict[str, str] = field(default_factory=dict)
    """Old term → new term: renamed products, obsolete words."""
    recent_days: float = 30.0
    """Days before the newest row that count as recent."""
    recent_share: float = 0.5
    """Largest part of rows from the recent days, 0 to 1, among rows that have a date older and newer."""
    synthetic_share: float = 0.5
    """Largest part of rows that a machine made up, 0 to 1; a set without a single real row is frozen only when it is forced."""
    leak_similarity: float = 0.7
    """Jaccard similarity of word 3-grams of two prompts, 0 to 1, from which a row to learn from gives a held-out one away."""
    label_share: float = 0.8
    """Largest part of rows, 0 to 1, that may teach one and the same label, or have one topic, among at least 50."""
    label_rows: int = 5
    """Rows below which a label or a topic is too rare to be learned, in a set of at least 50."""
    uncovered_share: float = 0.01
    """Smallest part of rows, 0 to 1, that makes a topic one the other side must cover."""
    collect_every: str = "7d"
    """How often the worker collects what people said of answers into the draft and the review queue: `12h`, `7d`, or `never`."""
    collect_sample: int = 20
    """Answers that nobody said anything about which each collection puts into the review queue; 0: none."""
    update_reviews: int = 20
    """First answers of a version that was promoted which people are asked to judge, without anybody asking for it; 0: none."""
    collect_per_user: int = 50
    """Most rows of the draft that come from the requests of one user or session, where requests name them; what is said about
    others of theirs waits for a reviewer."""
    gold_share: float = 0.05
    """Part of the items a reviewer is given whose right answer is known, 0 to 1, as long as there are some they have not met."""
    min_corrections: int = 20
    """Corrections since the parent dataset below which a cycle has too little to learn from."""
    keep_old: float = 1.0
    """Part of the old rows that stays when corrections come in (rehearsal against forgetting), 0 to 1."""
    outdated_share: float = 0.3
    """Part of similar recent requests, 0 to 1, whose answer was corrected, from which an old row with that answer is outdated."""
    outdated_similar: float = 0.2
    """Jaccard similarity of content words, 0 to 1, from which a recent request is similar to an old row."""

    def located(self, folder: Path) -> Config:
        """The same with the files of `names` below `folder`, the project's."""
        return replace(self, names=located(self.names, folder)) if self.names else self
