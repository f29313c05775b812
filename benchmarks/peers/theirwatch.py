"""The same day by others: `python theirwatch.py pandas|evidently DAY BASELINE`, run by the peer's own interpreter.

    pandas       the same numbers by pandas and scipy: rates, Wilson intervals, p95, words, distance of the words; by category too
    evidently    its preset of drift over length, latency, status, category and edits, and its summary of the data

DAY and BASELINE are Parquet files with a row a request. Prints a line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from typing import Any

import pandas as pd  # type: ignore[import-untyped,unused-ignore]

WORD = re.compile(r"\w+")
COLUMNS = ["length", "latency_ms", "status", "category", "edited"]
CATEGORIES = ("account", "billing", "refund", "shipping")


def well_formed(text: str) -> bool:
    """Whether an answer is JSON with a category that is known."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("category") in CATEGORIES


def numbers(frame: Any) -> dict[str, float]:
    """Rates with intervals, and the tail of the latency."""
    from scipy.stats import binomtest

    answered = frame[frame["status"] == "ok"]
    failed = int((frame["status"] != "ok").sum())
    edited = int(answered["edited"].sum())
    good = int(answered["answer"].map(well_formed).sum())
    for hits, n in ((failed, len(frame)), (edited, len(answered)), (good, len(answered))):
        binomtest(hits, n).proportion_ci(method="wilson")
    return {
        "requests": float(len(frame)),
        "error_rate": failed / len(frame),
        "edit_rate": edited / len(answered),
        "format": good / len(answered),
        "latency_p95": float(answered["latency_ms"].quantile(0.95, interpolation="higher")),
    }


def drift(day: Any, base: Any) -> dict[str, float]:
    """Distance of the day's words from day one's, and the share of requests with a word that day one did not know."""
    from scipy.spatial.distance import jensenshannon

    known: Counter[str] = Counter(word for text in base["question"] for word in WORD.findall(text.lower()) if word.isalpha())
    seen: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    unknown = []
    for text in day["question"]:
        words = [word for word in WORD.findall(text.lower()) if word.isalpha()]
        seen.update(words)
        new = {word for word in words if word not in known}
        strange.update(new)
        unknown.append(new)
    terms = {word for word, n in strange.items() if n >= 3}
    frequent = [word for word, _ in known.most_common(200)]
    tables = [[float(each[word]) for word in frequent] for each in (known, seen)]
    for table, each in zip(tables, (known, seen), strict=True):
        table.append(sum(each.values()) - sum(table))
    return {
        "input_drift": float(jensenshannon(*tables, base=2)),
        "vocabulary_drift": sum(bool(new & terms) for new in unknown) / len(day),
    }


def by_pandas(day: Any, base: Any) -> dict[str, float]:
    """Everything, overall and by category."""
    found = {f"{name}[]": value for name, value in (numbers(day) | drift(day, base)).items()}
    for category, part in day.groupby("category"):
        found |= {f"{name}[category={category}]": value for name, value in numbers(part).items()}
    return found


def by_evidently(day: Any, base: Any) -> dict[str, float]:
    """Its own report."""
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset, DataSummaryPreset  # type: ignore[import-not-found]

    kinds = DataDefinition(numerical_columns=["length", "latency_ms"], categorical_columns=["status", "category", "edited"])
    current, reference = (Dataset.from_pandas(each[COLUMNS], data_definition=kinds) for each in (day, base))
    Report([DataDriftPreset(), DataSummaryPreset()]).run(current, reference)
    return {}


which, *paths = sys.argv[1:]
start, used = time.perf_counter(), time.process_time()
day, base = (pd.read_parquet(path) for path in paths)
signals = (by_pandas if which == "pandas" else by_evidently)(day, base)
print(json.dumps({"seconds": time.perf_counter() - start, "cpu": time.process_time() - used, "signals": signals}))
