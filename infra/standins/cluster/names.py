"""Names, ids and times as Kubernetes makes them, but the same in every run."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

# Consonants and digits that spell no words: k8s.io/apimachinery/pkg/util/rand.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).digest()


def suffix(length: int, *parts: object) -> str:
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in _digest(*parts)[:length])


def template_hash(template: Any) -> str:
    """The `pod-template-hash` of a pod template: equal for equal templates, and for those only."""
    return suffix(10, json.dumps(template, sort_keys=True))


def uid(*parts: object) -> str:
    text = _digest("uid", *parts).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def container_id(pod_uid: str, container: str, restarts: int) -> str:
    """A restarted container is a new one. Twelve hexadecimal digits, the short form: the whole 64, twice in
    every line, would double the size of the history.
    """
    return _digest("container", pod_uid, container, restarts).hex()[:12]


def rfc3339(t: float) -> str:
    return datetime.fromtimestamp(int(t), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
