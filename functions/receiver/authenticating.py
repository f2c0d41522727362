"""Whether a webhook comes from whom it says, in constant time."""

from __future__ import annotations

import hashlib
import hmac


def is_signed(body: bytes, signature: str, secret: str) -> bool:
    """Whether `signature` is GitHub's X-Hub-Signature-256 of the body; never so without a secret.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    if not secret:
        return False
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode())


def bears(authorization: str, token: str) -> bool:
    """Whether the Authorization header bears `token`; never so without one."""
    return bool(token) and hmac.compare_digest(f"Bearer {token}".encode(), authorization.encode())
