"""Sealed boxes: what redaction took out, kept so that only the holder of a secret key reads it (X25519, XSalsa20-Poly1305)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from tunekeeper.core.errors import ConfigError, DataError

OVERHEAD = 48
"""Bytes by which a box is larger than what it holds: a public key and an authenticator."""


def make_keys() -> tuple[str, str]:
    """A secret key and its public key, 32 bytes each in base64."""
    from nacl.public import PrivateKey

    secret = PrivateKey.generate()
    return _text(bytes(secret)), _text(bytes(secret.public_key))


class Seal:
    """Closes boxes; whoever closes them cannot open them again."""

    def __init__(self, public: str) -> None:
        """`public`: the public key in base64. Raises ConfigError when it is none."""
        from nacl.public import PublicKey, SealedBox

        self._box = SealedBox(PublicKey(_key(public, "redact_seal")))

    def close(self, values: Mapping[str, str | float]) -> str:
        """A box, in base64, with what stood where placeholders stand now: placeholder → text, or a number of JSON."""
        return _text(self._box.encrypt(json.dumps(dict(values)).encode()))


def joined(box: str | None, more: str) -> str:
    """Several boxes as one: `box`, where there is one, and `more`. Their placeholders differ."""
    return more if box is None else f"{box}.{more}"


def is_box(value: object) -> bool:
    """Whether a value can be what `close` or `joined` gave: a client's own field may bear the name of ours."""
    try:
        parts = [base64.b64decode(part, validate=True) for part in value.split(".")] if isinstance(value, str) else []
    except (binascii.Error, ValueError):
        return False
    return bool(parts) and all(len(part) > OVERHEAD for part in parts)


def opened(box: str, secret: str) -> dict[str, str | float]:
    """What a box holds: placeholder → text, or a number of JSON. Raises ConfigError for a key that is none, DataError for a box
    it does not open."""
    from nacl.exceptions import CryptoError
    from nacl.public import PrivateKey, SealedBox

    key = PrivateKey(_key(secret, "the key file"))
    try:
        texts = [SealedBox(key).decrypt(base64.b64decode(part, validate=True)) for part in box.split(".")]
        values = {name: value for text in texts for name, value in json.loads(text).items()}
    except (CryptoError, ValueError, TypeError, AttributeError):
        raise DataError(
            "the key does not open this box", fix="take the secret key of the public one it was sealed with"
        ) from None
    return {str(name): value if type(value) in (int, float) else str(value) for name, value in values.items()}


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ConfigError(f"{where} holds no key of 32 bytes in base64", fix="tunekeeper data seal-key --out FILE makes a pair")
    return key


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
