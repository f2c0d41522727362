"""Topics, indexes, bucket and policies: what must be there before the first event. Idempotent."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.adapters.kafka import client_configuration, create_topics
from shared.adapters.mongo import Mongo
from shared.adapters.objectstore import S3ObjectStore
from shared.contracts.errors import BadSetting
from shared.contracts.policy import Policy, Rules
from shared.contracts.topics import Topic
from shared.runtime.settings import KafkaSettings, MongoSettings, ObjectStoreSettings

# As in knative/base. One workload's events share a partition, and four can be handled side by side; dead
# letters are read by a person, in the order in which they came.
PARTITIONS = {topic.value: 4 for topic in Topic} | {topic.dead_letters: 1 for topic in Topic}


@dataclass(frozen=True, kw_only=True)
class MigrateSettings(KafkaSettings, MongoSettings, ObjectStoreSettings):
    """What migrate reads from its environment."""


def read_policies(path: Path) -> list[Policy]:
    """The policy versions in a JSON list.

    Raises:
        BadSetting: no JSON list, or some of them are no policies; the text names every field that is wrong.
    """
    try:
        documents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # the last of brackets within thousands
        raise BadSetting(f"{path}: no JSON: {error}") from None
    if not isinstance(documents, list):
        raise BadSetting(f"{path}: expected a JSON list of policies")
    policies, wrong = [], []
    for number, document in enumerate(documents, 1):
        try:
            policies.append(Policy.model_validate(document))
        except ValidationError as error:
            name = document.get("name") if isinstance(document, dict) else None
            policy = f"policy {name if isinstance(name, str) and name else number}"
            wrong += [f"{policy}: {_wrong(item)}" for item in error.errors(include_url=False)]
    if wrong:
        raise BadSetting(f"{path}: {'; '.join(wrong)}")
    return policies


def _wrong(item: ErrorDetails) -> str:
    """One error of pydantic's for a person; a name that is none is answered by the nearest that is one."""
    *above, last = (str(part) for part in item["loc"]) if item["loc"] else ("",)
    if item["type"] != "extra_forbidden":
        said = item["msg"].removeprefix("Value error, ")
        if item["type"] in ("bool_parsing", "bool_type"):
            said = "must be true or false"
        return f"{'.'.join((*above, last))}: {said}".removeprefix(": ")
    names = {(): sorted(Policy.model_fields), ("rules",): sorted(Rules.model_fields)}.get(tuple(above), [])
    nearest = difflib.get_close_matches(last, names, n=1, cutoff=0.5)
    what = "rule" if above == ["rules"] else "field"
    hint = f", did you mean {nearest[0]}?" if nearest else f", there are {', '.join(names)}" if names else ""
    return f"{'.'.join((*above, last))}: no such {what}{hint}"


def migrate(policies: Path | None, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Creates what is missing, and says line by line what it did.

    `environment` holds the settings; default: the process's own.

    Raises:
        BadSetting: a setting or the policies' file is wrong.
        Temporary: Kafka, MongoDB or the object store cannot be reached.
    """
    settings = MigrateSettings.read(environment)
    wanted = read_policies(policies) if policies else []
    kafka = client_configuration(
        settings.kafka,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
    )
    created = create_topics(kafka, PARTITIONS)
    yield f"topics: {len(PARTITIONS)}, of which {len(created)} are new"
    mongo = Mongo(settings.mongodb.get_secret_value(), settings.mongodb_database)
    mongo.create_indexes()
    yield f"indexes: in database {settings.mongodb_database}"
    store = S3ObjectStore(
        settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        retention_mode=settings.retention_mode,
    )
    yield f"bucket: {settings.s3_bucket}{' (new, with object lock)' if store.create_bucket() else ''}"
    for policy in wanted:
        try:
            mongo.policies.put(policy)
        except ValueError as error:
            raise BadSetting(f"{policies}: {error}") from None
    mongo.close()
    if wanted:
        yield f"policies: {', '.join(f'{policy.name} version {policy.version}' for policy in wanted)}"
