"""What is kept of bodies."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.gateway.conftest import MODEL, lines_of
from tests.text.personal import MAKERS, carried, telling
from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.bodies import HELD, HELD_LONG, SHORT, Bodies, settled
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.record import Record
from tunekeeper.store.log.records import Ended, Partial, body_bytes, interrupted
from tunekeeper.text.redaction import UNREAD, Redactor
from tunekeeper.text.seals import make_keys, opened

CODE = "def route(self, number: int) -> str:\n    return f'{number:>8} {self.key} at {self.host}'  # 12.5 of 100\n"


def put(bodies: Bodies, request: bytes, response: bytes | None = None) -> Record:
    """The record of bodies that are put at once."""
    record: Record = {}
    called: list[int] = []
    bodies.put(record, request, response, lambda: called.append(1))
    assert called == [1]
    return record


def piece(bodies: Bodies, text: str) -> tuple[str, int]:
    """What may be written of a piece at once, and how much of it that is."""
    written: list[tuple[str, int]] = []
    bodies.piece(text, lambda clean, used, _: written.append((clean, used)))
    return written[0]


def chat(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


def test_bodies_stay_byte_for_byte_where_nothing_is_secret() -> None:
    body = b'{ "a" : 1e-7, "b":"hello" }'
    assert bytes(put(Bodies(("card", "key"), keep=True), body)["request"]) == body
    assert bytes(put(Bodies((), keep=True), b"[4111111111111111]")["request"]) == b"[4111111111111111]"
    assert put(Bodies(("card",), keep=False), body, body) == {}


def test_secrets_in_bodies_and_texts_are_replaced() -> None:
    bodies = Bodies(("card", "email"), keep=True)
    record = put(bodies, json.dumps({"a": ["card 4111 1111 1111 1111"], "n": 5}).encode(), b"not json: ann@example.com")
    assert json.loads(record["request"]) == {"a": ["card [CARD]"], "n": 5}
    assert record["response"] == b"not json: [EMAIL]"
    assert piece(bodies, f"ann@example.com {'and so on ' * 9}")[0].startswith("[EMAIL] and so on")
    assert bodies.value({"x": "ann@example.com"}) == {"x": "[EMAIL]"}


def test_a_long_body_with_something_in_it_is_looked_through_beside_the_loop_and_kept_whole() -> None:
    text = f"{CODE * 5_000}mail ana@example.com\n{CODE * 5_000}"
    assert len(text) > 1_000_000
    loops: list[str] = []

    async def run() -> Record:
        bodies, record = Bodies(("email", "phone", "ip", "card"), keep=True), Record()
        written = asyncio.Event()
        bodies.put(record, chat(text), chat("short"), lambda: (loops.append(threading.current_thread().name), written.set()))
        assert not record, "nothing was waited for"
        await asyncio.wait_for(written.wait(), 60)
        await bodies.settled()
        return record

    record = asyncio.run(run())
    kept = json.loads(record["request"])["messages"][0]["content"]
    assert kept == text.replace("ana@example.com", "[EMAIL]")
    assert bytes(record["response"]) == chat("short")
    assert loops == ["MainThread"], "and what follows is called on the loop"


def test_a_long_body_in_which_nothing_could_be_is_kept_as_it_is_and_found_to_be_so_beside_the_loop() -> None:
    body, seen = chat("only words " * SHORT), list[str]()

    class Watched(Redactor):
        def may_hold(self, data: bytes) -> bool:
            seen.append(threading.current_thread().name)
            return super().may_hold(data)

    async def run() -> Record:
        bodies, record = Bodies(("email", "phone"), keep=True), Record()
        bodies._patient = Watched(("email", "phone"))
        bodies.put(record, body, None, lambda: None)
        await bodies.settled()
        return record

    assert bytes(asyncio.run(run())["request"]) == body
    assert seen
    assert all(name.startswith("redaction") for name in seen), "a look at 4 MB stops the loop for a third of a second"


def sealed(public: str, model: str, request: bytes, response: bytes | None) -> Record:
    """The record of bodies of a model, when everything is done; those of `desk` are sealed."""

    async def run() -> Record:
        bodies = Bodies(("email", "key"), keep=True, seals={"desk": public})
        record: Record = {"model_id": model}
        bodies.put(record, request, response, lambda: None)
        await bodies.settled()
        return record

    return asyncio.run(run())


def test_what_is_taken_out_of_a_models_bodies_lies_in_one_box_for_the_holder_of_the_key() -> None:
    secret, public = make_keys()
    told = json.dumps({"choices": [{"message": {"content": "I wrote to ana@example.com and bo@example.com"}}]}).encode()
    record = sealed(public, "desk", chat("I am ana@example.com"), told)
    request, response = json.loads(record["request"]), json.loads(record["response"])
    assert request["messages"][0]["content"] == "I am [EMAIL:1]"
    assert response["choices"][0]["message"]["content"] == "I wrote to [EMAIL:1] and [EMAIL:2]"
    assert opened(request["sealed"], secret) == {"[EMAIL:1]": "ana@example.com", "[EMAIL:2]": "bo@example.com"}
    assert b"example.com" not in bytes(record["request"]) + bytes(record["response"])
    other = sealed(public, "other", chat("I am ana@example.com"), None)
    assert json.loads(other["request"])["messages"][0]["content"] == "I am [EMAIL]", "another model has no key"


def test_bodies_that_cannot_be_sealed_are_redacted_all_the_same() -> None:
    public = make_keys()[1]
    assert bytes(sealed(public, "desk", chat("nothing here"), b"{}")["request"]) == chat("nothing here")
    assert b"[EMAIL]" in sealed(public, "desk", b'["ana@example.com"]', None)["request"]
    record = sealed(public, "desk", b'{"sealed":"ana@example.com"}', b"no json: ana@example.com")
    assert json.loads(record["request"]) == {"sealed": "[EMAIL]"}
    assert record["response"] == b"no json: [EMAIL]"


@pytest.mark.parametrize("text", ["nothing to hide", "I am jane@example.org", 'odd \\ud83d "half"'])
def test_what_is_put_ahead_of_the_answer_is_what_would_be_put_with_it(text: str) -> None:
    bodies, request, response = Bodies(("email",), keep=True), chat(text), chat("ask joe@example.org")
    record: Record = {"model_id": "m"}
    bodies.ahead(record, request)
    assert b"jane@" not in bytes(record["request"])
    first = record["request"]
    bodies.put(record, request, response, lambda: None)
    assert record["request"] is first, "nothing is looked through twice"
    assert record == {"model_id": "m", **put(bodies, request, response)}


def test_nothing_is_put_ahead_that_is_sealed_or_looked_through_beside_the_loop_or_not_kept() -> None:
    _, public = make_keys()
    sealing = Bodies(("email",), keep=True, seals={"m": public})
    for bodies, request in (
        (sealing, chat("I am jane@example.org")),
        (Bodies(("email",), keep=True), chat("x" * SHORT)),
        (Bodies(("email",), keep=False), chat("hi")),
    ):
        record: Record = {"model_id": "m"}
        bodies.ahead(record, request)
        assert record == {"model_id": "m"}


def test_a_public_key_that_is_none_starts_no_worker() -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        Bodies(("email",), keep=True, seals={"desk": "broken"})


def test_who_closes_waits_for_what_is_being_looked_through() -> None:
    async def run() -> list[Any]:
        bodies, done = Bodies(("email",), keep=True), list[Any]()
        for n in range(3):
            record = Record()
            bodies.put(record, chat(f"{'words ' * SHORT} ana{n}@example.com"), None, lambda record=record: done.append(record))
        await bodies.settled()
        return done

    done = asyncio.run(run())
    assert len(done) == 3
    assert all(b"[EMAIL]" in bytes(record["request"]) for record in done)


def test_a_text_made_to_cost_time_is_left_out_where_it_was_not_looked_through_and_the_rest_stays() -> None:
    async def run() -> Record:
        bodies, record = Bodies(("card", "phone", "email"), keep=True), Record()
        bodies.put(record, chat(f"hello there {'and so on ' * 40}{'4 ' * 1_500_000}"), None, lambda: None)
        await bodies.settled()
        return record

    kept = bytes(asyncio.run(run())["request"]).decode()
    assert "hello there" in kept
    assert UNREAD in kept
    assert len(kept) < 1_500_000


def test_names_are_looked_for_beside_the_loop(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Ana Lima\n", "utf-8")

    async def run() -> tuple[Record, list[Any]]:
        names = {"detector": "list", "file": str(tmp_path / "names.txt")}
        bodies, record, done = Bodies(("email", "name"), keep=True, names=names), Record(), list[Any]()
        text = "dear Ana Lima thank you for the letter that came here"
        bodies.piece(text, lambda clean, used, _: done.append((clean, text[used:])))
        bodies.put(record, chat("I am Ana Lima, ana@example.com"), None, lambda: done.append("record"))
        assert not done, "nothing was waited for"
        await bodies.settled()
        return record, done

    record, done = asyncio.run(run())
    assert done == [("dear [NAME] thank you for", " the letter that came here"), "record"]
    assert json.loads(record["request"])["messages"][0]["content"] == "I am [NAME], [EMAIL]"


def test_of_a_running_text_what_could_be_half_of_something_waits() -> None:
    words = "thank you very much for your kind letter "
    assert words[: settled(words + "mail ana@exam", [])].split() == words.split()[:-4], "and the words that could lead there"
    assert settled("one two", []) == 0
    assert settled(words * 9, []) > len(words) * 8
    assert settled("1 2 3 4 5 " * 100, []) >= 1000 - HELD, "it waits for so much and no more"
    assert settled("a1" * 1000, []) == 0, "a word without an end waits for longer"
    assert settled("a1" * HELD_LONG, []) > HELD_LONG


@pytest.mark.parametrize("kind", MAKERS)
def test_however_a_text_comes_in_pieces_nothing_gets_through_between_two(kind: str) -> None:
    rng, bodies = random.Random(f"pieces {kind}"), Bodies(("key", "email", "iban", "card", "ip", "phone"), keep=True)
    words, tried, left = ("please", "look", "at", "the", "parcel", "that", "did", "not", "arrive", "yet", "and", "tell"), 0, 0
    for _ in range(60):
        value = MAKERS[kind](rng)
        text = f"{' '.join(rng.choices(words, k=30))} {carried(rng, value)} {' '.join(rng.choices(words, k=30))} "
        tells = telling(kind, value)
        if any(tell in piece(bodies, text)[0] for tell in tells):
            continue  # not even in one piece
        tried += 1
        written, rest = "", ""
        while text:
            n = rng.randint(1, 40)
            rest, text = rest + text[:n], text[n:]
            clean, used = piece(bodies, rest)
            written, rest = written + clean, rest[used:]
        left += any(tell in written for tell in tells)
    assert tried > 50
    assert left <= 1


def test_segments_and_metadata_are_in_the_box_of_their_request(make_bench: Any) -> None:
    secret, public = make_keys()
    bench = make_bench(Options(redact=("email", "phone"), seals={MODEL: public}))
    response = bench.chat(
        "I am ana@example.com", headers={"x-tunekeeper-segment-owner": "bo@example.com"}, metadata={"contact": "ana@example.com"}
    )
    record = bench.record(response)
    request = record["request"]
    values = opened(request["sealed"], secret)
    assert set(values.values()) == {"ana@example.com", "bo@example.com"}
    assert values[record["segments"]["owner"]] == "bo@example.com"
    assert values[record["metadata"]["contact"]] == "ana@example.com"
    assert request["metadata"] == record["metadata"]
    assert request["messages"][0]["content"] == f"I am {record['metadata']['contact']}"
    alone = bench.record(bench.chat("hello", headers={"x-tunekeeper-segment-owner": "bo@example.com"}))
    assert opened(alone["request"]["sealed"], secret) == {alone["segments"]["owner"]: "bo@example.com"}
    assert "sealed" not in bench.record(bench.chat("hello"))["request"]
    assert "example.com" not in "".join(path.read_text() for path in (bench.root / "spool").glob("*.jsonl"))


def test_what_is_said_later_has_a_box_of_its_own_where_its_model_is_sure(make_bench: Any) -> None:
    secret, public = make_keys()
    bench = make_bench(Options(redact=("email",), seals={MODEL: public}))
    id = bench.chat().headers["x-tunekeeper-request-id"]

    def say(**fields: Any) -> dict[str, Any]:
        body = {"request_id": id, "kind": "edit", "value": "write to ana@example.com", **fields}
        assert bench.http.post(f"{bench.url}/v1/feedback", json=body).status_code == 202
        return lines_of(bench.root, "F")[-1]

    for said in (say(), say(model=MODEL, metadata={"from": "bo@example.com"})):
        values = opened(said["metadata"]["sealed"], secret)
        assert "ana@example.com" in values.values()
        assert said["value"] == f"write to {next(k for k, v in values.items() if v.startswith('ana'))}"
    assert values[said["metadata"]["from"]] == "bo@example.com"
    other = say(model="another")
    assert (other["value"], "sealed" in other.get("metadata", {})) == ("write to [EMAIL]", False)
    own = say(metadata={"sealed": "mine"})
    assert (own["value"], own["metadata"]) == ("write to [EMAIL]", {"sealed": "mine"})
    assert "sealed" not in say(value="nothing in it").get("metadata", {})


def test_the_text_of_a_stream_that_we_died_in_is_sealed_piece_by_piece() -> None:
    secret, public = make_keys()
    written: list[tuple[str, int, str | None]] = []

    async def run() -> Record:
        bodies = Bodies(("email",), keep=True, seals={"desk": public})
        noted: Record = {"model_id": "desk"}
        bodies.put(noted, chat("I am ana@example.com"), None, lambda: None)
        for number, name in enumerate(("bo", "cy")):
            text = f"write to {name}@example.com and then wait for as long as it takes "
            bodies.piece(text, lambda *done: written.append(done), model="desk", number=number)
        await bodies.settled()
        return noted

    noted = asyncio.run(run())
    partials = [Partial("r", "", msgspec.Raw(noted["request"])), *(Partial("r", text, sealed=box) for text, _, box in written)]
    found = interrupted(Ended(request_id="r", timestamp=datetime.now(UTC), model_id="desk"), partials)
    request, response = (json.loads(body_bytes(found, name) or b"") for name in ("request", "response"))
    values = opened(request["sealed"], secret)
    assert sorted(values.values()) == ["ana@example.com", "bo@example.com", "cy@example.com"]
    text = response["choices"][0]["message"]["content"]
    assert "example.com" not in text
    assert [values[mark] for mark in re.findall(r"\[EMAIL:\d+\]", text)] == ["bo@example.com", "cy@example.com"]
    assert values[re.findall(r"\[EMAIL:\d+\]", request["messages"][0]["content"])[0]] == "ana@example.com"
