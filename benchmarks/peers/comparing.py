"""The same comparison by pandas, statsmodels and scipy: `python comparing.py RESULTS TIMES`, by the peer's own interpreter."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import pandas as pd  # type: ignore[import-untyped,unused-ignore]
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar  # type: ignore[import-not-found]
from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-not-found]


def compare(old: Any, new: Any, category: Any) -> dict[str, Any]:
    """Counts, McNemar's exact test, its mid-p, Wilson's interval overall and of each category before and now."""
    frame = pd.DataFrame({"old": old, "new": new, "category": category})
    table = pd.crosstab(frame["old"], frame["new"])
    fixed, broken = int(table.loc[0, 1]), int(table.loc[1, 0])
    exact = float(mcnemar(table, exact=True).pvalue)
    few = min(fixed, broken)
    middle = float(2 * binom.cdf(few, fixed + broken, 0.5) - binom.pmf(few, fixed + broken, 0.5))
    groups = frame.groupby("category")[["old", "new"]].agg(["sum", "count"])
    slices = {
        name: [list(proportion_confint(row[arm]["sum"], row[arm]["count"], method="wilson")) for arm in ("old", "new")]
        for name, row in groups.iterrows()
    }
    whole = [proportion_confint(frame[arm].sum(), len(frame), method="wilson") for arm in ("old", "new")]
    return {"exact": exact, "p": middle, "slices": slices, "whole": whole}


with open(sys.argv[1]) as file:
    rows = json.load(file)
columns = [[row[name] for row in rows] for name in ("old", "new", "category")]
taken = []
for _ in range(int(sys.argv[2])):
    start = time.process_time()
    found = compare(*columns)
    taken.append(1000 * (time.process_time() - start))
now = {name: [float(each) for each in both[1]] for name, both in found["slices"].items()}
print(json.dumps({"ms": statistics.median(taken), "p": found["p"], "slices": now}))
