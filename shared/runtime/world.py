"""The collaborators of a stage, each made on first use from its settings: the one place that wires."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from shared.runtime.settings import (
    ArgoCDSettings,
    GitHostSettings,
    GitHostWriteSettings,
    KafkaSettings,
    MongoSettings,
    ObjectStoreSettings,
    PrometheusSettings,
    Settings,
)

if TYPE_CHECKING:
    from shared.adapters.kafka import Publisher
    from shared.adapters.mongo import Mongo
    from shared.adapters.objectstore import ObjectStore
    from shared.adapters.prometheus import HttpPrometheus
    from shared.contracts.argocd import ArgoCD
    from shared.contracts.digests import Digests
    from shared.contracts.git_host import GitHost
    from shared.contracts.prometheus import Prometheus
    from shared.runtime.ledger import Ledger


def prometheus_of(settings: PrometheusSettings, timeout: float = 30.0) -> HttpPrometheus:
    """The client that these settings describe; `timeout` in seconds bounds one query."""
    from shared.adapters.prometheus import HttpPrometheus

    password = settings.prometheus_password.get_secret_value()
    return HttpPrometheus(
        settings.prometheus,
        settings.prometheus_token.get_secret_value(),
        timeout,
        token_path=settings.prometheus_token_file,
        user=(settings.prometheus_username, password) if settings.prometheus_username else None,
        tenant=settings.prometheus_tenant,
        ca_file=settings.prometheus_ca_file,
    )


class World:
    """Made once a process, after the fork; nothing connects before it is asked for.

    A stage's settings class inherits the settings of each system that it uses; asking for another one is
    a mistake in the wiring and fails its assertion.
    """

    def __init__(self, stage: str, settings: Settings) -> None:
        self.stage = stage
        self.settings = settings

    @cached_property
    def publisher(self) -> Publisher:
        from shared.adapters.kafka import KafkaPublisher, client_configuration

        settings = self.settings
        assert isinstance(settings, KafkaSettings)
        return KafkaPublisher(
            client_configuration(
                settings.kafka,
                security_protocol=settings.kafka_security_protocol,
                sasl_mechanism=settings.kafka_sasl_mechanism,
                username=settings.kafka_username,
                password=settings.kafka_password.get_secret_value(),
            )
        )

    @cached_property
    def mongo(self) -> Mongo:
        from shared.adapters.mongo import Mongo

        assert isinstance(self.settings, MongoSettings)
        return Mongo(self.settings.mongodb.get_secret_value(), self.settings.mongodb_database)

    @cached_property
    def digests(self) -> Digests:
        from shared.adapters.mongo_digests import MongoDigests

        return MongoDigests(self.mongo)

    @cached_property
    def ledger(self) -> Ledger:
        from shared.runtime.ledger import Ledger

        return Ledger(self.stage, self.mongo.recommendations, self.publisher)

    @cached_property
    def objects(self) -> ObjectStore:
        from shared.adapters.objectstore import S3ObjectStore

        settings = self.settings
        assert isinstance(settings, ObjectStoreSettings)
        return S3ObjectStore(
            settings.s3_endpoint,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            retention_mode=settings.retention_mode,
        )

    @cached_property
    def prometheus(self) -> Prometheus:
        assert isinstance(self.settings, PrometheusSettings)
        return prometheus_of(self.settings)

    @cached_property
    def git_host(self) -> GitHost:
        from shared.adapters.github import GitHubHost

        settings = self.settings
        assert isinstance(settings, GitHostSettings)
        # Who has no setting for it writes nothing.
        pause = settings.github_write_pause if isinstance(settings, GitHostWriteSettings) else 0.0
        return GitHubHost(settings.github, settings.github_token.get_secret_value(), write_pause=pause)

    @cached_property
    def argocd(self) -> ArgoCD:
        from shared.adapters.argocd import HttpArgoCD

        assert isinstance(self.settings, ArgoCDSettings)
        return HttpArgoCD(self.settings.argocd, self.settings.argocd_token.get_secret_value())
