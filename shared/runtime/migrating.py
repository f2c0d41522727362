"""Topics, indexes, bucket and policies: what must be there before the first event. Idempotent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from shared.adapters.kafka import client_configuration, create_topics
from shared.adapters.mongo import Mongo
from shared.adapters.objectstore import S3ObjectStore
from shared.contracts.errors import BadSetting
from shared.contracts.policy import Policy
from shared.contracts.topics import Topic
from shared.runtime.settings import KafkaSettings, MongoSettings, ObjectStoreSettings

# As in knative/base: one workload's events share a partition, and so many can be handled side by side.
PARTITIONS = 4


class MigrateSettings(KafkaSettings, MongoSettings, ObjectStoreSettings):
    """What migrate reads from its environment."""


def read_policies(path: Path) -> list[Policy]:
    """The policy versions in a JSON list.

    Raises:
        BadSetting: no JSON list, or one of them is no policy; the text says which field.
    """
    try:
        documents = json.loads(path.read_text())
        if not isinstance(documents, list):
            raise BadSetting(f"{path}: expected a JSON list of policies")
        return [Policy.model_validate(document) for document in documents]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadSetting(f"{path}: {where}: {first['msg']}") from None
    except ValueError as error:
        raise BadSetting(f"{path}: {error}") from None


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
    topics = [*(topic.value for topic in Topic), *(topic.dead_letters for topic in Topic)]
    created = create_topics(kafka, topics, PARTITIONS)
    yield f"topics: {len(topics)}, of which {len(created)} are new"
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
