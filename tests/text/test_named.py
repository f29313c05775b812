"""Secrets by what they are called: the name of a field, or a few words before or behind."""

from __future__ import annotations

import pytest

from tunekeeper.text.named import named
from tunekeeper.text.redaction import Redactor

HEX, UUID = "9f8e7d6c5b4a39281706f5e4d3c2b1a0", "4c3b2e7b-253b-4e72-87cc-09f5734724a4"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"Mein API-Schlüssel lautet {UUID}.", "Mein API-Schlüssel lautet ."),
        (f"Voici la clef d'API : {HEX}", "Voici la clef d'API : "),
        (f"Вот токен доступа — {HEX}", "Вот токен доступа — "),
        (f"Minun API-avain on {UUID}", "Minun API-avain on "),
        (f"מפתח API: {HEX}", "מפתח API: "),
        (f"{HEX} is our API key", " is our API key"),
        (f"{UUID}がAPIキーです", "がAPIキーです"),
        (f'acme_key = "{HEX}"', 'acme_key = ""'),
        ("the key for staging is still aB3xK9mQ7pL2wZ8v", "the key for staging is still "),
        (f"dd-apikey-{HEX}", ""),
        ("polar_oat_dNREmhx2SALSlUJREvTQdbcb", ""),
    ],
)
def test_random_letters_and_digits_are_a_secret_where_a_name_leads_to_them(text: str, left: str) -> None:
    (span,) = named(text)
    assert text[: span[0]] + text[span[1] :] == left
    assert Redactor(["key"]).redact(text)[0] == text[: span[0]] + "[KEY]" + text[span[1] :]


@pytest.mark.parametrize(
    "text",
    [
        UUID, f"order {UUID}", f"commit {HEX} fixes the token", f"the key commit is {HEX}", f"public key {HEX}",
        f"idempotency key: {UUID}", f"token for order {UUID}", f"primary key {UUID}", f"trace id {HEX}, token count 20",
        f"completion tokens {UUID}", f"api key docs https://x.example/v2/{HEX}", f'{{"key": "uploads/2026/{HEX}.png"}}',
        "Culture=neutral, PublicKeyToken=b77a5c561934e089",
        "the key findings in report-2026-q1-v2-final3", "winreg.OpenKey(winreg.HKEY_CURRENT_USER",
        "AutoTokenizer a1b2c3d4e5f6a7b8",
        f'{{"tool_call_id": "call_{HEX}"}}', f"api key [KEY] {HEX}",
    ],
)  # fmt: skip
def test_random_letters_and_digits_that_are_called_otherwise_stay(text: str) -> None:
    assert Redactor(["key"]).redact(text) == (text, {})


def test_a_secret_of_any_length_is_found_by_the_name_of_its_field() -> None:
    value = {"azure_openai_key": "a1B2c3D4e5F6" * 7, "checksum": HEX}
    assert Redactor().redact_json(value)[0] == {"azure_openai_key": "[KEY]", "checksum": HEX}


SHORT = "w3xMiYDdE7x"


@pytest.mark.parametrize(
    "notation",
    [
        "export ACME_TOKEN={}", 'ACME_API_KEY="{}"', "orbit:\n  client_secret: {}\n  port: 80", '{{"appToken":"{}"}}',
        "api_key = {}", "X-Auth-Token: {}", "https://api.example/v1?token={}&page=2", "deploy --api-key {} --region eu",
        "deploy --webhook-secret={}", "Client(auth_token='{}', timeout=30)", "os.environ['ACME_SECRET'] = '{}'",
        "const apiKey = `{}`;", "setx ACME_TOKEN \"{}\"", "<apiKey>{}</apiKey>", '<add key="apiKey" value="{}" />',
        'env:\n  - name: ACME_TOKEN\n    value: "{}"', "| api_key | {} |", "**API key**: `{}`",
        "The encryption key is {} in case", "I set the token to {} and it fails", "here is my api key:\n\n{}\n",
        ':token => "{}",', 'token := "{}"', '("refresh_token", "{}")', '"{{\\"api_key\\": \\"{}\\"}}"',
        "Das Geheimnis lautet {}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [SHORT, "kQ7vXr!Zp2w", "9aKq2:mZ8xR4tW6yB1nC5"])
def test_the_value_of_a_field_that_is_called_a_secret_is_one_in_every_notation(notation: str, value: str) -> None:
    text = notation.format(value)
    clean, counts = Redactor(["key"]).redact(text)
    assert clean == notation.format("[KEY]")
    assert counts == {"key": 1}


@pytest.mark.parametrize("name", ["auth", "X_AUTH", "QLX_PAT", "svcAuth", "creds"])
def test_a_name_that_means_other_things_too_leads_to_what_is_random_only(name: str) -> None:
    redactor = Redactor(["key"])
    assert redactor.redact(f"{name} = rNiEp3dGuuWxN5vYGlEfF6PCtFzU")[0] == f"{name} = [KEY]"
    assert redactor.redact(f"{name} = oauth2-pkce-v2") == (f"{name} = oauth2-pkce-v2", {})


@pytest.mark.parametrize(
    "text",
    [
        "token: Token2Type", "token = tokens[0]", "token = tokenizer2.encode(text)", '"token": "Ġhello123"',
        "token: 2024-05-01T10:00:00Z", "secret: my-app-v2", 'api_key=os.environ["ACME_KEY_2"]',
        "client_secret = var.client_secret_v2", "access_key: ${{ACCESS_KEY_2}}", "license key is in 2024Q1",
        "the encryption key is 256bits", "signing key is ES256", "api_key: ana1@example.com",
        "auth token ForTokenClassification2x", "class HYV4ForCausalLM(PreTrainedToken)",
    ],
)  # fmt: skip
def test_what_code_and_people_call_things_is_no_secret(text: str) -> None:
    assert named(text) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Das Passwort für das WLAN ist Tiger4410! und", "Das Passwort für das WLAN ist [KEY] und"),
        ("Le mot de passe du wifi est Tiger4410!", "Le mot de passe du wifi est [KEY]"),
        ("Password (again): Tiger4410!", "Password (again): [KEY]"),
        ("WiFi密码是mWoEp3TGU04h", "WiFi密码是[KEY]"),
        ("credentials: bob:Tiger4410!", "credentials: bob:[KEY]"),
        ("Zugangsdaten: bob / Tiger4410!", "Zugangsdaten: bob / [KEY]"),
        ("use Tiger4410! as the password", "use [KEY] as the password"),
        ("ALTER USER x IDENTIFIED BY 'Tiger4410!'", "ALTER USER x IDENTIFIED BY '[KEY]'"),
        ("mysql -u root -pTiger4410! shop", "mysql -u root -p[KEY] shop"),
        ("The token limit of the model is 4096b1c2d3", "The token limit of the model is 4096b1c2d3"),
    ],
)
def test_a_few_words_lead_from_a_name_to_a_short_secret_where_they_name_nothing_else(text: str, left: str) -> None:
    assert Redactor(["key"]).redact(text)[0] == left
