"""Recall and false hits are measured on seeded synthetic records, as the reliability specification asks."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.text.personal import AROUND, AS_IT_IS, MAKERS, carried, clean, telling
from tunekeeper.core.errors import ConfigError
from tunekeeper.text.named import named
from tunekeeper.text.passwords import passwords
from tunekeeper.text.redaction import _FINDERS, KINDS, Redactor, said


@pytest.mark.parametrize("kind", KINDS)
def test_at_least_99_of_100_values_as_people_write_them_are_found_named_and_gone(kind: str) -> None:
    rng, redactor, missed = random.Random(kind), Redactor(), []
    for _ in range(1000):
        value = MAKERS[kind](rng)
        text, counts = redactor.redact(carried(rng, value))
        if kind not in counts or any(piece in text for piece in telling(kind, value)):
            missed.append((value, text, counts))
    assert len(missed) <= 10, missed[:5]


def test_at_most_one_clean_text_in_a_hundred_is_touched() -> None:
    rng, redactor = random.Random(4), Redactor()
    texts = [clean(rng) for _ in range(5000)]
    hits = [redactor.redact(text)[0] for text in texts if redactor.redact(text)[0] != text]
    assert len(hits) <= 50, hits[:5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pay 4111 1111 1111 1111 12/27 now", "pay [CARD] 12/27 now"),
        ("order 4111 1111 1111 1112", "order 4111 1111 1111 1112"),
        ("DE89 3704 0044 0532 0130 00 GB82 WEST 1234 5698 7654 32", "[IBAN] [IBAN]"),
        ("DE89 3714 1044 0532 0130 01", "DE89 3714 1044 0532 0130 01"),
        ("call me on 01701234567!", "call me on [PHONE]!"),
        ("part 01701234567!", "part 01701234567!"),
        ("<ana@example.com>,bo@example.com", "<[EMAIL]>,[EMAIL]"),
        ("Authorization: Bearer abcdefgh12345678XYZ", "Authorization: Bearer [KEY]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\nbye", "[KEY]\nbye"),
        ("from 10.0.0.1, v10.0.0.1 and 999.1.1.1", "from [IP], v10.0.0.1 and 999.1.1.1"),
    ],
)
def test_the_text_around_a_value_stays(text: str, expected: str) -> None:
    assert Redactor().redact(text)[0] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_stands_around_a_value_in_any_notation_stays_as_it_is(kind: str) -> None:
    rng, redactor = random.Random(f"around {kind}"), Redactor()
    swallowed = []
    for turn in range(len(AROUND) * 12):
        value = AS_IT_IS[kind][turn // len(AROUND) % len(AS_IT_IS[kind])]
        before, after = AROUND[turn % len(AROUND)]
        if rng.random() < 0.5:
            before, after = rng.choice(("", "Hi, ", "x\n", "{ ")) + before, after + rng.choice(("", " bye", "\n", " }"))
        clean = redactor.redact(before + value + after)[0]
        if clean != f"{before}[{kind.upper()}]{after}":
            swallowed.append((before, value, after, clean))
    assert swallowed == []


def test_redacting_twice_changes_nothing_more() -> None:
    once, _ = Redactor().redact("ana@example.com or +1 415 555 0123, card 4111-1111-1111-1111")
    assert Redactor().redact(once) == (once, {})


@pytest.mark.parametrize(
    "text",
    [
        "222\u00a0160\u00a09325\u00a0313\u00a0606", "> Jo Wong wrote:\n> reach out, kx23@web.example, 9463895",
        "Kontakt 004421 949 410 316, x56@mail.example", "reach me: 001-988-694-1013 / 1info88@web.example",
        "api key 9f8e7d6c5b4a39281706f5e4d3c2b1a0 4c3b2e7b-253b-4e72-87cc-09f5734724a4",
    ],
)  # fmt: skip
def test_a_placeholder_leads_to_nothing_more(text: str) -> None:
    once, counts = Redactor().redact(text)
    assert counts
    assert Redactor().redact(once) == (once, {})


def test_only_the_configured_kinds_are_looked_for() -> None:
    assert Redactor(["email"]).redact("ana@example.com +1 415 555 0123") == ("[EMAIL] +1 415 555 0123", {"email": 1})
    with pytest.raises(ConfigError, match="no kind of personal data is called 'names'"):
        Redactor(["names"])


def test_json_keeps_its_shape_and_its_identity_when_clean() -> None:
    redactor = Redactor()
    clean = {"messages": [{"role": "user", "content": "hello"}], "n": 3, "none": None}
    assert redactor.redact_json(clean)[0] is clean
    dirty = {"messages": [{"role": "user", "content": ["mail ana@example.com"]}], "n": 4111111111111112}
    changed, counts = redactor.redact_json(dirty)
    assert changed == {"messages": [{"role": "user", "content": ["mail [EMAIL]"]}], "n": 4111111111111112}
    assert counts == {"email": 1}


def test_a_value_is_told_by_the_name_beside_it() -> None:
    headers = [{"name": "X-Api-Key", "value": "SUu3hD8i1gBjk6B0"}, {"name": "Accept", "value": "application/json;v=2"}]
    clean, counts = Redactor().redact_json({"headers": headers, "env": {"key": "DB_PASSWORD", "value": "rG$VJL#VlRFJUpPZ"}})
    assert clean == {
        "headers": [{"name": "X-Api-Key", "value": "[KEY]"}, {"name": "Accept", "value": "application/json;v=2"}],
        "env": {"key": "DB_PASSWORD", "value": "[KEY]"},
    }
    assert counts == {"key": 2}


def test_a_password_needs_no_digit_where_its_field_says_what_it_is() -> None:
    value = {"password": "rG$VJL#VlRFJUpPZ", "note": "rG$VJL#VlRFJUpPZ", "passwordHint": "FirstPet"}
    assert Redactor().redact_json(value)[0] == value | {"password": "[KEY]"}


def exact(kind: str, text: str) -> bool:
    """Whether the exact expressions of a kind find something, the filter before them left out."""
    return bool(_FINDERS[kind](text)) or (kind == "key" and bool(named(text) or passwords(text)))


def spellings(rng: random.Random, text: str) -> list[bytes]:
    """The same text as it may stand in a body: plain, and in JSON as different writers escape it."""
    plain = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=False)
    some = "".join(f"\\u{ord(c):04x}" if rng.random() < 0.1 and ord(c) < 0xD800 else json.dumps(c)[1:-1] for c in text)
    return [
        text.encode(),
        plain.encode(),
        json.dumps([text]).encode(),
        json.dumps(text).replace("/", "\\/").encode(),
        f'"{some}"'.encode(),
    ]


def spoilt(rng: random.Random, value: str) -> str:
    """A value with up to three characters changed, put in, taken out, doubled, or their case turned."""
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(value))
        c = rng.choice(" -./()@:_,\"'\n\t\u00a0\u2003é٣５𝟜\u200b0149aZ=+") if rng.random() < 0.7 else value[at].swapcase()
        value = rng.choice((value[:at] + c + value[at:], value[:at] + c + value[at + 1 :], value[:at] + value[at + 1 :] or c))
    return value


SECRETS = (
    "A jelszó jYixVm%qHRlQ9",
    "รหัสผ่านคือ P@ssqDQTm1!",
    "密码是P@sswFtTC9!",
    "mi clave es horse-battery-winter-dragon47",
    '"key": "passphrase", "value": "GGKGZK%gUEZx"',
    "| redis_password | Purple!staple27 |",
    "Server=sql1;User Id=svc;Password=XJSommnx;",
    "sqlplus scott/eqgAjRGn9@//ora1:1521/XE",
    "docker login -u ana -p vLdwzjvtFfFHXD9",
    "openssl enc -d -in a -pass pass:hunterxx9",
    "https://x.example/open-apis/bot/v2/hook/4c3b2e7b-253b-4e72-87cc-09f5734724a4",
    "Mein API-Schlüssel lautet 4c3b2e7b-253b-4e72-87cc-09f5734724a4",
    "токен доступа — 9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "9f8e7d6c5b4a39281706f5e4d3c2b1a0 is our API key",
    "vendor_pat_aB3xK9mQ7pL2wZ8vR4t",
    "アクセストークンは9f8e7d6c5b4a39281706f5e4d3c2b1a0です",
    "Bearer \u2003abcdefgh12345678XYZ",
    "password\n\n:\t\t'abcd/efgh/1234/5678",
    "API KEY = 0123456789abcdef==",
    'api_key="0123456789abcdefg"',
    "Token 0123456789abcdefg",
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4",
    "SG.abcdefghijklmnop1234.abcdefghijklmnop1234",
    "github_pat_11ABCDEFG0123456789_abc",
    "glpat-abcdefghijklmnop12",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "AIza" + "Sy0123456789" * 3,
    "hf_abcdefghijklmnopqrstuvwx",
    "dop_v1_" + "0123456789abcdef" * 4,
    "password = 'Tr0ub4dor&3x'",
    "secret_access\t=\t0123456789abcdefg",
    "postgres://ana:pass1word@host/x",
    "--hasło abcdefgh12345678XYZ",
    '<add key="API_KEY" value="abcdefgh12345678XYZ"/>',
    "密钥: abcdefgh12345678XYZ",
    "chiave_segreta = abcdefgh12345678XYZ",
    "ya29.abcdefghijklmnopqrstuv",
    "orbit:\n  client_secret: w3xMiYDdE7x",
    '<add key="apiKey" value="9aKq2:mZ8xR4tW6yB1nC5"/>',
    "os.environ['ACME_SECRET'] = 'kQ7v!r/Zp2w'",
    "X_AUTH=rNiEp3dGuuWxN5vYGlEfF6PC",
    "smtp_password: 'DmvAAyhykiHh'",
    "**Password:** `kQ-vXr!Zpw`",
    "Moje hasło to YdLkeuztmXzj, ale",
    "パスワードはHdlpjzsY5jPUです",
    "pw: Xk9vLq2",
    "kestrel_test_aB3xK9mQ7paB3xK9mQ7p",
)
NUMBERS = (
    "call ٠١٢٣٤٥٦٧٨٩",
    "+49 ３０ 1234567",
    "phone: ०१२३४५६७",
    "0170/1234567",
    "call me at (415)/555.01.23",
    "+1/(415)/555-0123",
    '"phone": "4155550132"',
    "电话 13800138000",
    "Tél. 0612345678",
    "TÉLÉPHONE: 0612345678",
    "телефон 84951234567",
    "my number is 4155550132",
    "+49\u2009(0)30\u202f/ 901820",
    "Åse Lee, 53292612",
    "Ana de Lee\n36 42 62 12",
    "53292612 / ana@example.com",
    "ana@example.com\tPorto;(351) 925807302",
    "Kontakt Bo: 20 12 34 56",
    "phone: 2012-3456",
    "Tel. 20 26-03-99",
    '"from": "53292612"',
    "Bo schrieb von 2012 3456",
    "53292612 に折り返し",
    "担当者 田中 53292612",
    "Pueden llamarme al 222972484",
    "line 2074684544 ext. 74",
    "she gave me 2074684544 as her number",
)
PREFIXES = ("", "to ", "is:", "\n", "é", "\u00a0", "(", '"', "1 ", "_", "/", "\\")


@pytest.mark.parametrize("kind", KINDS)
def test_the_filter_never_says_no_where_an_exact_expression_hits(kind: str) -> None:
    rng = random.Random(f"filter {kind}")
    redactors = [Redactor([kind]), Redactor()]
    extra = {"key": SECRETS, "phone": NUMBERS}.get(kind, ())
    hits = 0
    for turn in range(2000):
        value = rng.choice(extra) if extra and turn % 2 else MAKERS[kind](rng)
        text = rng.choice(PREFIXES) + spoilt(rng, carried(rng, value)) + rng.choice(("", " now", "\n", "é", "."))
        if not exact(kind, text):
            continue
        hits += 1
        for body in spellings(rng, text):
            assert all(redactor.may_hold(body) for redactor in redactors), (text, body)
        assert redactors[0].find(text), text
    assert hits > 500, "the values are too spoilt to show anything"


def test_every_decimal_digit_of_unicode_counts_for_a_phone() -> None:
    redactor = Redactor(["phone"])
    for code in range(0x110000):
        if chr(code).isdecimal():
            text = "call " + chr(code) * 7
            assert redactor.may_hold(text.encode()), hex(code)
            assert redactor.may_hold(json.dumps(text).encode()), hex(code)


def test_an_ordinary_body_is_passed_by_the_filter() -> None:
    redactor = Redactor(["key", "card"])
    answer = {
        "id": "chatcmpl-9f8e7d6c5b4a39281706f5e4", "created": 1_764_000_000, "usage": {"prompt_tokens": 80, "total_tokens": 140},
        "choices": [{"message": {"content": "A task-specific, risk-adjusted plan."}, "logprobs": [-0.4716239876512345]}],
    }  # fmt: skip
    assert not redactor.may_hold(json.dumps(answer).encode())
    assert not redactor.may_hold(b'{"content":"Hello team, my parcel has not arrived. Order 12, token or password?"}')
    assert redactor.may_hold(b'"ana\\u0040example.com"'), "an escape may be anything"


def test_numbers_of_any_length_and_bytes_of_any_kind_are_filtered_without_running_out_of_memory() -> None:
    rng, redactor = random.Random(9), Redactor()
    noise = bytes(rng.choices(b"0123456789 -.@:_/\\u00aAbkKsetyJ\xc2\xa0\xf0\x80", k=300_000))
    assert redactor.may_hold(noise)
    assert redactor.may_hold(b"1." * 200_000 + b" 4111 1111 1111 1111")


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "@",
        "1 ",
        "1",
        "sk-",
        "eyJ",
        "a@",
        "-----BEGIN PRIVATE KEY",
        ":",
        "1.",
        "(0",
        "DE12",
        "+1",
        "call ",
        "0 1 ",
        "token=",
        "secret",
        "://a:",
        " at ",
        "a at b dot ",
        "(at)",
        '"',
        "xoxb-",
        "passw",
        "電話",
        "%41",
        "\\u0031",
        "&#64;",
        "1\u200b",
        "\\n1 ",
        "７",
        'secret="a1',
        "key a1b2c3 ",
        "pass: Ab!",
    ],
)
def test_time_grows_with_the_length_whatever_the_text(piece: str) -> None:
    redactor = Redactor()

    def seconds(length: int) -> float:
        text, begin = piece * (length // len(piece)), time.thread_time()
        redactor.redact(text)
        return time.thread_time() - begin

    seconds(1000)
    # What else a process does, e.g. look for rings of objects, only adds: the least of some runs is the text's own.
    least = {length: min(seconds(length) for _ in range(5)) for length in (10_000, 80_000)}
    assert least[80_000] < 20 * least[10_000] + 0.15


def test_fields_that_are_called_by_an_address_are_called_otherwise() -> None:
    value = {"ana@example.com": 1, "bo@example.com": {"x": "y"}, "note": "n"}
    assert Redactor().redact_json(value) == ({"[EMAIL] 1": 1, "[EMAIL] 2": {"x": "y"}, "note": "n"}, {"email": 2})


def test_two_that_are_called_by_their_address_stay_two_and_nobody_reads_who() -> None:
    redactor, other = Redactor(pepper=b"a"), Redactor(pepper=b"b")
    ana, bo = redactor.alias("ana@example.com")[0], redactor.alias("bo@example.com")[0]
    assert ana == redactor.alias("ana@example.com")[0] != bo
    assert ana != other.alias("ana@example.com")[0]
    assert ana.startswith("[EMAIL]~")
    assert redactor.alias("u-4711") == ("u-4711", {})
    assert Redactor().alias("ana@example.com")[0] == "[EMAIL]"


def test_what_is_typed_is_cleaned_of_every_kind() -> None:
    assert said("ask ana@example.com or +49 30 1234567") == "ask [EMAIL] or [PHONE]"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("4111 1111 1111 1111 5500 0000 0000 0004 4111 1111 1111 1111", "[CARD] [CARD] [CARD]"),
        ("DE89 3704 0044 0532 0130 00 4111-1111-1111-1111", "[IBAN] [CARD]"),
        ("ann@example.com/bob@example.com", "[EMAIL]/[EMAIL]"),
        ("ann@example.com-bob@example.com", "[EMAIL]-[EMAIL]"),
    ],
)
def test_what_stands_directly_behind_another_value_is_found_too(text: str, clean: str) -> None:
    assert Redactor().redact(text)[0] == clean


def test_a_field_never_takes_the_name_of_one_beside_it() -> None:
    clean, _ = Redactor().redact_json({"ann@example.com": 1, "[EMAIL] 1": 2, "bob@example.com": 3})
    assert sorted(clean.values()) == [1, 2, 3]


def test_the_tokens_of_an_answer_do_not_spell_what_was_taken_out_of_it() -> None:
    def answer(text: str) -> dict[str, object]:
        tokens = [{"token": each, "logprob": -0.1} for each in text]
        return {"choices": [{"message": {"content": text}, "logprobs": {"content": tokens}}], "created": 1}

    clean, _ = Redactor().redact_json(answer("ana@example.com"))
    assert clean == {"choices": [{"message": {"content": "[EMAIL]"}, "logprobs": None}], "created": 1}
    kept = answer("nobody at all")
    assert Redactor().redact_json(kept)[0] is kept


def test_text_in_many_scripts_is_filtered_without_a_set_giving_up(capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random("scripts")
    scripts = (
        "abcdefg ,.-/()@",
        "абвгдежз тел +",
        "电话手机你好",
        "ابجد هاتف",
        "τηλ κινητό",
        "".join(map(chr, range(32, 0x3000, 7))),
    )
    redactor = Redactor()
    for turn in range(60):
        text = "".join(rng.choices(rng.choice(scripts) + rng.choice(scripts) + "0123456789", k=(200, 12_000)[turn % 2]))
        held = f"{text}\ncall 4155550132, ana@example.com"
        for body in (held.encode(), json.dumps({"content": held}, ensure_ascii=False).encode(), json.dumps([held]).encode()):
            assert redactor.may_hold(body)
        assert "ana@example.com" not in redactor.redact(held)[0]
        redactor.may_hold(text.encode())
    assert "out of memory" not in capfd.readouterr().err
