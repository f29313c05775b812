"""Nothing of the machine it was written on stands in a file: no path of its own, no host of a package registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".lock", ".json", ".html", ".css", ".js", ".csv", ".jsonl", ""}
FOREIGN = re.compile(
    r"(?<![\w.{}<>-])/(?:work/(?:main|shared)|tmp/tk|root/\.)"  # a developer's machine
    + r"|(?:py"
    + r"pi|pythonhosted|npm"
    + r"js)\.(?:org|com)"  # a registry
)


def texts(repository: Path) -> list[Path]:
    """Files of the repository that a person wrote: what git keeps, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=repository, capture_output=True, text=True, check=True
    )
    paths = [repository / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file()]


def test_no_file_names_the_machine_it_was_written_on(repository: Path):
    files = texts(repository)
    assert len(files) > 150
    named = [
        str(path.relative_to(repository)) for path in files if FOREIGN.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert named == []


def test_the_look_would_find_one():
    for text in ("see /wo" + "rk/main/x", "https://py" + "pi.org/simple", "'/ro" + "ot/.cache'"):
        assert FOREIGN.search(text)
    assert not FOREIGN.search("root/work/main.py and .tunekeeper/work/")


UNFINISHED = re.compile(
    r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|\bNotImplemented" + r"Error|unittest\.mo" + r"ck|\bMagicMo" + r"ck\b"
)


def test_nothing_is_left_for_later_and_nothing_is_mocked(repository: Path):
    files = [path for path in texts(repository) if path.suffix == ".py"]
    named = [str(path.relative_to(repository)) for path in files if UNFINISHED.search(path.read_text(encoding="utf-8"))]
    assert named == []
