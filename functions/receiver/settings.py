"""What receiver reads from its environment."""

from __future__ import annotations

from pydantic import Field, SecretStr

from shared.runtime.settings import KafkaSettings


class ReceiverSettings(KafkaSettings):
    github_secret: SecretStr = Field(
        SecretStr(""),
        alias="GITHUB_WEBHOOK_SECRET",
        description="secret of GitHub's webhook; without it every one is refused",
    )
    argocd_token: SecretStr = Field(
        SecretStr(""),
        alias="ARGOCD_WEBHOOK_TOKEN",
        description="bearer token of Argo CD's notifications; without it every one is refused",
    )
    tick_seconds: int = Field(
        60,
        alias="KUBEFINOPS_TICK_SECONDS",
        ge=1,
        description="ticks of one schedule within so many seconds are one and the same",
    )
