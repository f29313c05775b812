"""Columns of flat rows: which one holds the question and which one the answer, as told or as guessed by their names."""

from __future__ import annotations

import difflib
import functools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from tunekeeper.core.errors import DataError, UserError

ROLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "user": (
        *("user", "prompt", "question", "input", "ticket", "request", "instruction", "query", "message", "text", "input_text"),
        *("text_input", "inputs"),
        *(
            "frage",
            "pregunta",
            "domanda",
            "pergunta",
            "vraag",
            "pytanie",
            "soru",
            "вопрос",
            "问题",
            "問題",
            "質問",
            "질문",
            "السؤال",
            *("texto", "texte", "testo", "текст", "文本"),
        ),
    ),
    "assistant": (
        *(
            "assistant",
            "answer",
            "completion",
            "output",
            "response",
            "reply",
            "target",
            "targets",
            "label",
            "expected_output",
            "output_text",
            "expected",
            "ideal",
        ),
        *(
            "antwort",
            "réponse",
            "reponse",
            "respuesta",
            "risposta",
            "resposta",
            "antwoord",
            "odpowiedź",
            "odpowiedz",
            "cevap",
            "yanıt",
        ),
        *("etiqueta", "etichetta", "étiquette", "метка", "标签"),
        *("ответ", "回答", "答案", "答え", "답변", "الجواب", "الإجابة"),
    ),
    "system": ("system", "system_prompt"),
    "context": ("context", "passage"),
    "id": ("id", "row_id", "ticket_id", "request_id", "uuid"),
    "created": ("created", "created_at", "date", "timestamp", "time", "fecha", "datum", "дата", "日期"),
    "category": ("category", "topic", "intent", "categoría", "categoria", "catégorie", "kategorie", "tema", "категория", "类别"),
    "said_by": ("said_by", "edited_by", "corrected_by", "reviewed_by", "reviewer", "annotator"),
    "said_at": ("said_at", "edited_at", "corrected_at", "reviewed_at"),
}
"""Role → column names that are taken for it, in this order, when no mapping says otherwise."""
_WEAKER: dict[str, tuple[str, ...]] = {
    "user": (
        *("problem", "issue", "user_prompt", "user_message", "user_query", "user_question", "customer_message", "customer_query"),
        *("utterance", "sentence", "anliegen", "anfrage"),
    ),
    "assistant": (
        *("solution", "resolution", "expected_answer", "expected_response", "ground_truth", "reference_answer", "gold_answer"),
        *("correct_answer", "agent_response", "bot_response", "assistant_response", "sql", "sql_query", "lösung"),
    ),
}
"""Names that are taken where none of those above is there: beside these they say more about a row."""

ONE_COLUMN = "the only column is"
"""What is said of a file whose columns cannot hold a question and its answer, whichever is which."""
BOTH = 'a row needs a question and its answer: two columns, or {"messages": [{"role": "user", …}, {"role": "assistant", …}]}'
"""What mends such a file."""
MOST_NAMED = 30
"""Columns that a message names."""


def resolve_columns(columns: Sequence[str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    """Role → column of a flat file. `mapping` wins, then names of `ROLE_COLUMNS` in any case.

    Raises DataError naming the column that is missing and the columns that are there, and where several columns could be the
    question or the answer: a guess is only made where it is sure.
    """
    chosen, open_ = guess_columns(columns, mapping, where)
    if not open_:
        return chosen
    role, names = next(iter(open_.items()))
    there = _listed(columns)
    if not names:
        usual = ", ".join(ROLE_COLUMNS[role][:4])
        taken = {column for field, column in chosen.items() if field != "category"}
        left = [column for column in columns if column not in taken]
        sure = len(left) == 1 == len(open_) and _joined(left[0]) in _LIKELY
        meant = as_option(role, left[0]) if sure else f"--map {role}=COLUMN"
        found, fix = (f"columns are: {there}", meant) if len(columns) > 1 else (f"{ONE_COLUMN} {there}", BOTH)
        raise DataError(f"{where}: no column for {role!r} (such as {usual}); {found}", fix=fix)
    line = " ".join(as_option(role, names[0] if names else "COLUMN") for role, names in open_.items())
    raise DataError(f"{where}: more than one column could be {role!r}: {', '.join(names)}", fix=line)


def guess_columns(columns: Sequence[str], mapping: Mapping[str, str], where: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Role → column as told and as guessed, and what stays open: question or answer → the columns that could be it, likeliest
    first. Raises DataError for a told column that is missing."""
    chosen = _told(columns, {column.strip().casefold(): column for column in reversed(columns)}, mapping, where)
    present = {_joined(column): column for column in reversed(columns)}
    taken = set(chosen.values())
    open_: dict[str, list[str]] = {}
    for role, names in _NAMES.items():
        found = [present[name] for name in names if name in present and present[name] not in taken]
        found = found or [present[name] for name in _WEAK_NAMES.get(role, ()) if name in present and present[name] not in taken]
        if role == "user" and not found and {"source", "target"} <= present.keys():
            found = [present["source"]]
        # Who says which column is the question says all that is asked.
        if role in chosen or (role == "context" and "user" in mapping):
            continue
        if role in ("user", "assistant") and (not found or (len(found) > 1 and found[0].strip().casefold() != role)):
            open_[role] = found
        if found:
            chosen[role] = found[0]
            taken.add(found[0])
    return chosen, open_


def tells_both(columns: Iterable[str], mapping: Mapping[str, str]) -> bool:
    """Whether columns, as told and as guessed, hold a question and an answer."""
    try:
        return {"user", "assistant"} <= guess_columns(list(columns), mapping, "")[0].keys()
    except DataError:
        return False


def tells_either(columns: Iterable[str]) -> bool:
    """Whether one of the columns is named like a question or an answer."""
    return not _EITHER.isdisjoint(_joined(str(column)) for column in columns)


def _listed(columns: Sequence[str]) -> str:
    """The columns that are there, for one line of a message."""
    more = f" and {len(columns) - MOST_NAMED} more" if len(columns) > MOST_NAMED else ""
    return ", ".join(column[:60] for column in columns[:MOST_NAMED]) + more or "none"


@functools.lru_cache(maxsize=4096)  # the rows of a file name the same few columns
def _joined(column: str) -> str:
    """The name of a column without what joins its words: `Created At`, `created_at` and `createdAt` are one."""
    return re.sub(r"[\s_-]+", "", column.casefold())


_NAMES = {role: tuple(map(_joined, names)) for role, names in ROLE_COLUMNS.items()}
_WEAK_NAMES = {role: tuple(map(_joined, names)) for role, names in _WEAKER.items()}
_LIKELY = frozenset(
    (
        *_NAMES["category"],
        "classification",
        "class",
        "intents",
        "labels",
        "sentiment",
        "summary",
        "translation",
        "tags",
        "entities",
    )
)
"""What is likely meant as the answer where nothing else is left."""
_EITHER = frozenset((*_NAMES["user"], *_NAMES["assistant"], *_WEAK_NAMES["user"], *_WEAK_NAMES["assistant"]))
_ANSWERS = frozenset(_NAMES["assistant"])


def as_option(role: str, column: str) -> str:
    """How a command line says that a field is read from a column."""
    return f"--map {shlex.quote(f'{role}={column}')}"


def named_by(columns: Iterable[str]) -> set[str]:
    """The names that stand for columns in a mapping: each whole, since a column's own may hold commas, and in its parts."""
    return set().union(*map(_names_in, columns))


@functools.lru_cache(maxsize=4096)
def _names_in(column: str) -> frozenset[str]:
    return frozenset(part.strip() for part in (column, *column.split(",")))


def answers(columns: Iterable[str]) -> bool:
    """Whether one of the columns is named like an answer."""
    return not _ANSWERS.isdisjoint(map(_joined, columns))


def _told(columns: Sequence[str], present: Mapping[str, str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    told: dict[str, str] = {}
    for role, wanted in mapping.items():
        whole = present.get(wanted.strip().casefold())
        for part in wanted.split(",") if whole is None else ():
            if part.strip().casefold() not in present:
                near = [present[name] for name in difflib.get_close_matches(part.strip().casefold(), present, 1)]
                meant = f", did you mean {near[0]!r}?" if near else ";"
                raise DataError(
                    f"{where}: no column {part.strip()!r} for {role!r}{meant} columns are: {_listed(columns)}",
                    fix=as_option(role, near[0] if near else "COLUMN"),
                )
        told[role] = whole or ",".join(present[part.strip().casefold()] for part in wanted.split(","))
    return told


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Raise UserError for a field that no row has, with the near name."""
    for role in mapping:
        if role not in ROLE_COLUMNS:
            near = difflib.get_close_matches(role, ROLE_COLUMNS, 1)
            raise UserError(
                f"no field is called {role!r}; fields are: {', '.join(ROLE_COLUMNS)}",
                fix=f"--map {near[0] if near else 'user'}={mapping[role]}",
            )
