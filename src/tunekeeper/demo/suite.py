"""What a desk's lead does when the policy changes: bring the suite's expected answers up to date, on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunekeeper.demo.phrases import CUES, ISSUES, RENAMED
from tunekeeper.demo.world import POLICY_2, triage

CASES = "suites/core.jsonl"


def rewrite_suite(folder: Path) -> int:
    """Write the changed world's names and answers into the suite's cases; returns how many cases differ from before.

    Doing it twice changes nothing.
    """
    path = folder / CASES
    lines = path.read_text(encoding="utf-8").splitlines()
    fresh = [json.dumps(restate(json.loads(line)), ensure_ascii=False) for line in lines]
    changed: int = sum(json.loads(old) != json.loads(new) for old, new in zip(lines, fresh, strict=True))
    if changed:
        new = path.with_suffix(".new")
        new.write_text("\n".join(fresh) + "\n", encoding="utf-8")
        new.replace(path)
    return changed


def restate(case: dict[str, Any]) -> dict[str, Any]:
    """A case of the suite as it reads after the change: the product's new name, the answer under the new policy."""
    messages = [{**message, "content": message["content"].replace(*RENAMED)} for message in case["messages"]]
    return {**case, "messages": messages, "expected": truth(case["messages"][-1]["content"])}


def truth(text: str) -> str:
    """The right answer to a ticket of either world under the new policy. Raises ValueError for a text that is no ticket."""
    tone = next((tone for cue, tone in sorted(CUES, key=lambda each: -len(each[0])) if cue in text), 0)
    for category, issues in ISSUES.items():
        for wordings, severity, _ in issues:
            if any(_says(text, wording) for wording in wordings):
                return triage(category, POLICY_2.priority(category, severity, tone))
    raise ValueError(f"no issue of the desk: {text!r}")


def _says(text: str, wording: str) -> bool:
    lower = text.lower()
    before, _, after = wording.lower().partition("{p}")
    start = lower.find(before)
    return start >= 0 and lower.find(after, start + len(before)) >= 0
