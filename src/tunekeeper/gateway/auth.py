"""Who may call. Pure but for the clock's value: a presented key in, an identity or a refusal out.

A key is `tk_` and 40 random characters (238 bits) and six that check them, so that a scanner of leaked secrets can tell one from
noise. Only its HMAC-SHA-256 under the workspace's pepper is stored; looking that up tells nothing about the key by timing.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.refusals import Refusal

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SCOPES = ("infer", "feedback", "metrics", "admin")
MAX_KEY = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling."""

    key_id: str | None
    """Id of the key; None where none is asked, and for the static key."""
    trusted: bool
    """Whether it may say why it calls (`x-tunekeeper-purpose`): a key of scope admin, or no keys asked."""
    models: tuple[str, ...] = ()
    """Models it may call; empty: all."""
    expires: datetime | None = None
    """When the key stops working; None: never."""

    def may_call(self, model: str) -> bool:
        """Whether this caller may call `model`."""
        return not self.models or model in self.models


ANYONE = Caller(None, trusted=True)
STATIC = Caller(None, trusted=False)


def new_key(entropy: Callable[[int], bytes]) -> str:
    """A fresh key."""
    number = int.from_bytes(entropy(32), "big")
    body = "".join(ALPHABET[number // 62**i % 62] for i in range(40))
    return f"tk_{body}{_check(body)}"


def _check(body: str) -> str:
    number = zlib.crc32(body.encode())
    return "".join(ALPHABET[number // 62**i % 62] for i in range(6))


@lru_cache(maxsize=1024)
def hash_key(key: str, pepper: bytes) -> str:
    """What is stored of a key: HMAC-SHA-256 under the pepper, hex. Remembered: the same few keys come with every request."""
    return hmac.digest(pepper, key.encode("utf-8", "surrogateescape"), "sha256").hex()


def presented(authorization: str | None) -> str | None:
    """The key of an `Authorization: Bearer …` header; None without one."""
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def judge(
    key: str | None,
    scope: str,
    *,
    keys: dict[str, ApiKey],
    static: str | None,
    required: bool,
    pepper: bytes,
    now: Callable[[], datetime],
) -> Caller | Refusal:
    """Who presents `key` for something of `scope`, or why not. `keys`: hash → live key; `static`: hash of the gateway's own key.
    Where no key is asked for, one that is presented is neither looked at nor refused."""
    if not required:
        return ANYONE
    if key is None:
        return Refusal("missing_key", "this gateway asks for a key: send it as Authorization: Bearer …")
    if len(key) > MAX_KEY:
        return Refusal("invalid_key", "the key is not known here")
    digest = hash_key(key, pepper)
    if static is not None and hmac.compare_digest(digest, static):
        return STATIC
    found = keys.get(digest)
    if found is None:
        return Refusal("invalid_key", "the key is not known here")
    if found.expires is not None and found.expires <= now():
        return Refusal("key_expired", "the key has expired")
    if scope not in found.scopes and "admin" not in found.scopes:
        return Refusal("scope_missing", f"the key lacks the scope {scope}")
    return Caller(found.id, trusted="admin" in found.scopes, models=found.models, expires=found.expires)
