"""What a receiver is sent: one JSON object per message."""

from __future__ import annotations

from typing import Any

from tunekeeper.store.ledgers.outbox import Message


def payload(message: Message) -> dict[str, Any]:
    """`{id, kind, model, subject, text, data, created}`; `created` in ISO 8601, UTC."""
    return {
        "id": message.id,
        "kind": message.kind,
        "model": message.model or None,
        "subject": message.subject,
        "text": message.text,
        "data": message.data,
        "created": None if message.created is None else message.created.isoformat(),
    }
