"""What receiver reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runtime.settings import KafkaSettings, Secret, number, setting, whole


@dataclass(frozen=True, kw_only=True)
class ReceiverSettings(KafkaSettings):
    github_secret: Secret = setting(
        "GITHUB_WEBHOOK_SECRET",
        Secret,
        Secret(""),
        "secret of GitHub's webhook; without it every one is refused",
    )
    argocd_token: Secret = setting(
        "ARGOCD_WEBHOOK_TOKEN",
        Secret,
        Secret(""),
        "bearer token of Argo CD's notifications; without it every one is refused",
    )
    tick_seconds: int = setting(
        "KUBEFINOPS_TICK_SECONDS",
        number(whole, 1),
        60,
        "ticks of one schedule within so many seconds are one and the same",
    )
