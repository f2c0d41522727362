"""What gitops reads from its environment."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ArgoCDSettings, GitHostWriteSettings, KafkaSettings, MongoSettings


class GitOpsSettings(KafkaSettings, MongoSettings, GitHostWriteSettings, ArgoCDSettings):
    auto_merge: bool = Field(
        False,
        alias="KUBEFINOPS_AUTO_MERGE",
        description="merge what policy allows without a person",
    )
    pause: bool = Field(
        False,
        alias="KUBEFINOPS_PAUSE",
        description="stop new pull requests and merges everywhere, from its rollout on; without one a policy"
        ' with `"pause": true` does',
    )
