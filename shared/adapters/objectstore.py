"""S3: versioned, locked JSON objects; MinIO, AWS or any other server that has object lock."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from urllib.parse import urlsplit

import rfc8785
import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from minio.retention import Retention

from shared.adapters.bounded import BoundedPools
from shared.contracts.errors import BadSetting, Temporary

CONTENT_TYPE = "application/json"
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0


@dataclass(frozen=True)
class Stored:
    """What was put: where it lies and what it hashes to."""

    bucket: str
    key: str
    version_id: str | None
    sha256: str
    size: int


class ObjectStore(Protocol):
    def put(self, key: str, content: bytes, retain_until: datetime) -> Stored:
        """Writes a new version of `key`, locked until then. Raises Temporary."""
        ...

    def get(self, key: str, version_id: str | None) -> bytes:
        """Raises KeyError if there is no such version, Temporary if the server cannot be reached."""
        ...


def canonical(document: object) -> bytes:
    """Canonical JSON (RFC 8785): the same document is the same bytes everywhere.

    Raises:
        ValueError: NaN, infinity, or an integer beyond 2^53.
    """
    return bytes(rfc8785.dumps(document))  # type: ignore[arg-type]


@contextmanager
def _translated(endpoint: str, bucket: str) -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError) as error:
        why = re.sub(r"^\w+\(.*?\): |\[Errno -?\d+\] ", "", str(error))
        raise Temporary(
            f"no object storage answers at {endpoint} (S3_ENDPOINT): {why[:300] or type(error).__name__}"
        ) from error
    except MinioException as error:
        raise Temporary(
            f"object storage, bucket {bucket}: {type(error).__name__}: {str(error)[:300]}"
        ) from error


class S3ObjectStore:
    """See ObjectStore. The client retries nothing itself: KafkaSource does, with the whole event."""

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: str,
        secret_key: str,
        bucket: str,
        region: str,
        retention_mode: Literal["GOVERNANCE", "COMPLIANCE"],
    ) -> None:
        address = urlsplit(endpoint)
        self.bucket = bucket
        self._endpoint = endpoint
        self._region = region
        self._mode = retention_mode
        self._client = Minio(
            address.netloc,
            access_key=access_key,
            secret_key=secret_key,
            secure=address.scheme == "https",
            region=region,
            http_client=BoundedPools(
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
                retries=False,
                maxsize=16,
            ),
        )

    def put(self, key: str, content: bytes, retain_until: datetime) -> Stored:
        """See ObjectStore."""
        with _translated(self._endpoint, self.bucket):
            result = self._client.put_object(
                self.bucket,
                key,
                io.BytesIO(content),
                len(content),
                content_type=CONTENT_TYPE,
                retention=Retention(self._mode, retain_until),
            )
        return Stored(
            bucket=self.bucket,
            key=key,
            version_id=result.version_id,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )

    def get(self, key: str, version_id: str | None) -> bytes:
        """See ObjectStore."""
        try:
            with _translated(self._endpoint, self.bucket):
                response = self._client.get_object(self.bucket, key, version_id=version_id)
                try:
                    return bytes(response.read())
                finally:
                    response.close()
                    response.release_conn()
        except Temporary as error:
            cause = error.__cause__
            if isinstance(cause, S3Error) and cause.code in {"NoSuchKey", "NoSuchVersion"}:
                raise KeyError(key) from None
            raise

    def create_bucket(self) -> bool:
        """Creates the bucket with object lock; False if it is there.

        Raises:
            BadSetting: it is there without object lock, so that nothing could be put into it.
            Temporary: the server cannot be reached, or does not tell.
        """
        with _translated(self._endpoint, self.bucket):
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket, location=self._region, object_lock=True)
                return True
            try:
                self._client.get_object_lock_config(self.bucket)
            except S3Error as error:
                if error.code != "ObjectLockConfigurationNotFoundError":
                    raise
                raise BadSetting(
                    f"S3_BUCKET: the bucket {self.bucket} is there, but without object lock: what is written"
                    " could not be locked; switch object lock on where the server can do that afterwards, or"
                    " name a bucket that is not there yet, and it is created with object lock"
                ) from None
            return False
