"""Which column is which, as told and as guessed."""

from __future__ import annotations

import pytest

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.data.columns import answers, check_mapping, resolve_columns


def test_columns_are_guessed_by_their_usual_names_in_any_case() -> None:
    assert resolve_columns(["ID", "Ticket", "Answer", "created_at", "mood"], {}, "t.csv") == {
        "user": "Ticket",
        "assistant": "Answer",
        "id": "ID",
        "created": "created_at",
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Frage", "Antwort"),
        ("Question", "Réponse"),
        ("pregunta", "respuesta"),
        ("texto", "etiqueta"),
        ("vraag", "antwoord"),
        ("问题", "回答"),
        ("السؤال", "الجواب"),
    ],
)
def test_columns_are_known_in_other_languages(asked: str, said: str) -> None:
    assert resolve_columns([asked, said], {}, "t.csv") == {"user": asked, "assistant": said}


def test_a_column_is_known_however_its_words_are_joined() -> None:
    found = resolve_columns(["Question", " Answer ", "Created At", "Ticket-ID", "editedBy"], {}, "f.csv")
    assert found == {
        "user": "Question", "assistant": " Answer ", "id": "Ticket-ID", "created": "Created At", "said_by": "editedBy"
    }  # fmt: skip


def test_a_mapping_wins_over_the_guess_and_a_missing_column_is_named_with_those_that_are_there() -> None:
    assert resolve_columns(["prompt", "body", "reply"], {"user": "body"}, "t.csv")["user"] == "body"
    with pytest.raises(DataError, match=r"t\.csv: no column 'text' for 'user'; columns are: prompt, reply") as caught:
        resolve_columns(["prompt", "reply"], {"user": "text"}, "t.csv")
    assert caught.value.fix == "--map user=COLUMN"


def test_a_wrong_name_gives_the_near_one() -> None:
    with pytest.raises(DataError, match=r"no column 'tiket' for 'user', did you mean 'Ticket'\?") as caught:
        resolve_columns(["Ticket", "Reply"], {"user": "tiket"}, "t.csv")
    assert caught.value.fix == "--map user=Ticket"
    with pytest.raises(UserError, match="no field is called 'asistant'; fields are: user, assistant") as wrong:
        check_mapping({"user": "a", "asistant": "b"})
    assert wrong.value.fix == "--map assistant=b"


def test_a_column_named_like_an_answer_is_known() -> None:
    assert answers(["text", "Expected Output"])
    assert not answers(["text", "id", "category"])


def test_of_many_columns_a_message_names_some() -> None:
    columns = [f"c{i}" for i in range(5_000)]
    for mapping in ({}, {"user": "question"}):
        with pytest.raises(DataError, match=r"columns are: c0, c1, .*, c29 and 4970 more") as refused:
            resolve_columns(columns, mapping, "wide.csv")
        assert len(refused.value.message) < 400


def test_a_column_whose_name_holds_commas_is_told_whole() -> None:
    header = ["id", "Question (de, en)", "Answer, short"]
    told = {"user": "question (de, en)", "assistant": "Answer, short"}
    assert resolve_columns(header, told, "t.csv") == {"user": header[1], "assistant": header[2], "id": "id"}
    with pytest.raises(DataError, match="did you mean") as caught:
        resolve_columns(header, {"user": "Question (de, em)"}, "t.csv")
    assert caught.value.fix == "--map 'user=Question (de, en)'"


def test_what_a_question_is_about_is_guessed_unless_somebody_said_which_column_is_asked() -> None:
    header = ["question", "context", "answer"]
    assert resolve_columns(header, {}, "t.csv")["context"] == "context"
    assert "context" not in resolve_columns(header, {"user": "question"}, "t.csv")
    assert resolve_columns(header, {"user": "question", "context": "context"}, "t.csv")["context"] == "context"


def test_names_that_say_less_count_where_no_usual_one_is_there() -> None:
    for header in (["problem", "solution"], ["question", "ground_truth"], ["Query", "SQL", "level"], ["source", "target"]):
        found = resolve_columns(header, {}, "t.csv")
        assert (found["user"], found["assistant"]) == (header[0], header[1])
    assert resolve_columns(["question", "solution", "answer"], {}, "t.csv")["assistant"] == "answer"
    with pytest.raises(DataError, match="no column for 'user'"):
        resolve_columns(["source", "answer"], {}, "t.csv")


def test_the_fix_names_the_column_that_is_likely_the_answer() -> None:
    for header, fix in ((["text", "category"], "category"), (["id", "text", "intents"], "intents"), (["text", "url"], "COLUMN")):
        with pytest.raises(DataError, match="no column for 'assistant'") as refused:
            resolve_columns(header, {}, "t.csv")
        assert refused.value.fix == f"--map assistant={fix}"
