"""Did the model decline, and should it have? Out-of-scope cases want a refusal or an escalation, all others an answer."""

from __future__ import annotations

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring.apart import Judged
from tunekeeper.scoring.patterns import compile_pattern, searchable
from tunekeeper.scoring.scorers import OUT_OF_SCOPE

# Whole phrases in the first person or about the request's scope: "the card was declined" is an answer, not a refusal.
PHRASES = (
    r"\bI(?:'m| am) (?:sorry|afraid|unable|not able|not allowed)\b",
    r"\bI (?:can(?:not|'t| not)|won't|will not|must decline|have to decline)\b",
    r"\b(?:outside|beyond|out of) (?:of )?(?:my|the|our) (?:scope|area|remit)\b",
    r"\bout[ _-]of[ _-]scope\b",
    r"\bas an AI\b",
    r"\b(?:escalat(?:e|ed|ing)|hand(?:ed|ing)? (?:this |you |it )?(?:over|off)|transfer(?:red|ring)?) "
    r".{0,40}\b(?:agent|human|person|colleague|team)\b",
    r"\bplease (?:contact|ask|reach out to|consult) (?:a |an |the |your )",
)
_REFUSES = "(?i)" + "|".join(PHRASES)


def refuses(answer: str) -> str | None:
    """The words with which an answer declines or hands over (English phrases), or None."""
    found = compile_pattern(_REFUSES).search(searchable(answer).replace("\u2019", "'"))
    return found.group(0) if found else None


class Refusal:
    """1 when an out-of-scope case (tag `out_of_scope`) is declined or escalated, and when any other case is not."""

    def applies(self, case: Case) -> bool:
        return True

    def score(self, answer: str, case: Case) -> Judged:
        words = refuses(answer)
        if OUT_OF_SCOPE in case.tags:
            return (1.0, f"declines: {words!r}") if words else (0.0, "answers an out-of-scope request")
        return (0.0, f"refuses a request in scope: {words!r}") if words else (1.0, "answers")
