"""A versioned bucket in memory."""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime

from shared.adapters.objectstore import Stored


class FakeObjectStore:
    """Keeps every version; `objects` maps a key to its versions, oldest first."""

    def __init__(self, bucket: str = "kubefinops") -> None:
        self.bucket = bucket
        self.objects: dict[str, list[bytes]] = {}
        self.retained: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def put(self, key: str, content: bytes, retain_until: datetime) -> Stored:
        with self._lock:
            versions = self.objects.setdefault(key, [])
            versions.append(content)
            self.retained[key] = retain_until
            return Stored(
                bucket=self.bucket,
                key=key,
                version_id=f"v{len(versions)}",
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
            )

    def get(self, key: str, version_id: str | None) -> bytes:
        versions = self.objects.get(key)
        if versions is None:
            raise KeyError(key)
        return versions[-1] if version_id is None else versions[int(version_id[1:]) - 1]
