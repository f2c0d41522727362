"""What gitops reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from shared.runtime.settings import (
    ArgoCDSettings,
    GitHostWriteSettings,
    KafkaSettings,
    MongoSettings,
    boolean,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class GitOpsSettings(KafkaSettings, MongoSettings, GitHostWriteSettings, ArgoCDSettings):
    auto_merge: bool = setting(
        "KUBEFINOPS_AUTO_MERGE",
        boolean,
        False,
        "merge what policy allows without a person",
    )
    pause: bool = setting(
        "KUBEFINOPS_PAUSE",
        boolean,
        False,
        "stop new pull requests and merges everywhere, from its rollout on; without one a policy"
        ' with `"pause": true` does',
    )
