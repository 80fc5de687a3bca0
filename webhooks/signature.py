"""Signatures of webhooks, as Standard Webhooks defines them (https://www.standardwebhooks.com). Pure."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

MAX_SKEW_S: Final = 300
"""A signature that is older or newer is refused (Standard Webhooks, "Verifying webhook authenticity")."""


def signing_key(secret: str) -> bytes:
    """Return the key of a secret: base64 behind `whsec_`; any other secret is the key. Raises ValueError."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise ValueError("the webhook secret is not base64 behind whsec_") from error


def sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the value of `webhook-signature`; `timestamp` is in unix seconds."""
    digest = hmac.digest(key, b".".join((message_id.encode(), timestamp.encode(), body)), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def signature_headers(key: bytes, message_id: str, now_s: int, body: bytes) -> Mapping[str, str]:
    """Return the headers of a signed message."""
    timestamp = str(now_s)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(key, message_id, timestamp, body),
    }


def signature_faults(key: bytes, headers: Mapping[str, str], body: bytes, now_s: int) -> list[str]:
    """Return what is wrong with the signature of a message; header names are in lower case."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if sign(key, message_id, timestamp, body) not in headers.get("webhook-signature", "").split(" "):
        return ["the signature is not right"]
    if not timestamp.isdecimal() or abs(int(timestamp) - now_s) > MAX_SKEW_S:
        return ["the signature's time is not now"]
    return []
