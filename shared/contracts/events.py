"""The payload of each topic. CPU in millicores, memory in bytes, money as decimal strings, times in UTC.

A payload forbids unknown fields when we write one and ignores them when we read one, so that a newer
producer's optional field breaks no older consumer. A breaking change is a new version in the type.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from shared.contracts.errors import Permanent
from shared.contracts.identity import Workload
from shared.contracts.money import Money
from shared.contracts.topics import Topic


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with a Z, and fractions of a second only where there are some."""
    text = moment.astimezone(UTC).isoformat()
    return text.removesuffix("+00:00") + "Z"


# Windows, deadlines and retention are reckoned from an event's time: it has to leave room on both sides.
FIRST_YEAR, LAST_YEAR = 2000, 2200


def within_reach(moment: datetime) -> datetime:
    """The moment itself, if others can be reckoned from it.

    Raises:
        ValueError: it lies outside the years 2000 to 2200, or does not convert to UTC at all.
    """
    try:
        year = moment.astimezone(UTC).year
    except OverflowError:  # before the year 1 or after 9999
        year = 0
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"{moment.isoformat()} is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment


Moment = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
# Of an event. What is reckoned from it, such as a window's beginning, may lie beyond: that is a Moment.
EventMoment = Annotated[Moment, AfterValidator(within_reach)]
MillicoresField = Annotated[int, Field(ge=0)]
BytesField = Annotated[int, Field(ge=0)]


# The context in which a payload is validated that somebody else wrote.
READING = {"reading": True}


class Payload(BaseModel):
    """What all payloads share: immutable, strict when written, lenient when read."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def read(cls, data: object) -> Self:
        """The payload in `data`, with unknown fields ignored.

        Raises:
            Permanent: `data` does not fit; the text names the first field that is wrong.
        """
        try:
            return cls.model_validate(data, extra="ignore", context=READING)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "data"
            more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
            why = first["msg"].removeprefix("Value error, ")
            raise Permanent(f"{cls.__name__}: {where}: {why}{more}") from None


class Shard(Payload):
    """A part of a scan: at most 200 workloads, named `<namespace>/<kind>/<name>`."""

    name: str
    index: int = Field(ge=0)
    of: int = Field(ge=1)
    workloads: tuple[str, ...]


class ScanRequested(Payload):
    """A wish to read usage. Without a shard: fan out; with one: read and size it."""

    cluster: str
    scan_id: str
    scanned_at: EventMoment
    requested_by: Literal["schedule", "person"]
    shard: Shard | None = None


class ReconcileRequested(Payload):
    """A wish to look again: at everything, or first at what the hint names."""

    cluster: str
    reason: Literal["schedule", "git_host", "argocd"]
    pull_request: int | None = None
    repository: str | None = None
    application: str | None = None


class Resources(Payload):
    """Requests and limits of one container; None is "not set"."""

    cpu_request_m: MillicoresField | None = None
    cpu_limit_m: MillicoresField | None = None
    memory_request_bytes: BytesField | None = None
    memory_limit_bytes: BytesField | None = None


class Usage(Payload):
    """p95 of CPU and memory of the worst pod, in the two forms that contracts.md defines, and the peaks.

    `recent`: over the samples of the last five minutes; without: over the history, in 5-minute windows.
    """

    cpu_p95_recent_m: float | None = None
    cpu_p95_m: float
    cpu_max_m: float
    memory_p95_recent_bytes: int | None = None
    memory_p95_bytes: int
    memory_max_bytes: int
    samples: int = Field(ge=0)
    pods: int = Field(ge=0)
    oom_kills: int = Field(default=0, ge=0)
    throttled_share: float | None = None


class ContainerProposal(Payload):
    """What one container asks for now, what it should, and the sentences that say why."""

    name: str
    current: Resources
    proposed: Resources
    usage: Usage
    reasons: tuple[str, ...]


def small(containers: tuple[ContainerProposal, ...], most_bytes: int) -> tuple[ContainerProposal, ...]:
    """The containers as an event may carry them: beyond so much JSON, the sentences stay in the report."""
    if sum(len(each.model_dump_json()) for each in containers) <= most_bytes:
        return containers
    return tuple(each.model_copy(update={"reasons": ("see the report",)}) for each in containers)


class ReportPointer(Payload):
    """Where the evidence lies; a reader checks the sha256 of the whole object."""

    bucket: str
    key: str
    version_id: str | None
    pointer: str = Field(description="JSON pointer (RFC 6901) to this workload's entry")
    sha256: str


class Rates(Payload):
    """What an hour costs, by which the costs were reckoned; a month is 730 hours."""

    core_hour: Money
    gib_hour: Money
    source: str = Field(default="", description="where they come from, in words; empty: not told")


class RecommendationCreated(Payload):
    """What one workload should ask for instead, what that saves a month, and where the evidence lies."""

    recommendation_id: str
    workload: Workload
    scan_id: str
    scanned_at: EventMoment
    replicas: int = Field(ge=0)
    pods: float = Field(
        ge=0,
        description="how many run; on average where an autoscaler sets how many, or they run to completion;"
        " the costs are for these",
    )
    containers: tuple[ContainerProposal, ...] = Field(min_length=1)
    held_at_least: Resources | None = Field(
        default=None,
        description="requests that the containers together cost at least, because an init container asks for"
        " as much",
    )
    confidence: float = Field(ge=0, le=1)
    history_seconds: int = Field(ge=0)
    monthly_cost_before: Money
    monthly_cost_after: Money
    monthly_saving: Money
    rates: Rates
    content_hash: str = Field(description="sha256 over the workload, what is set and what is proposed")
    report: ReportPointer


class Outcome(StrEnum):
    """A rule's verdict, from the mildest to the most restrictive."""

    ALLOW = "allow"
    CLAMP = "clamp"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"


class Verdict(Payload):
    """What one rule said, by which version of which policy, from which inputs."""

    rule: str
    policy: str
    version: int
    outcome: Outcome
    message: str
    container: str | None = None
    inputs: dict[str, str] = Field(default_factory=dict)


class _Judged(Payload):
    recommendation_id: str
    workload: Workload
    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    verdicts_left_out: int = Field(
        default=0, ge=0, description="mild verdicts that an event is too small for; the document has all"
    )
    policies: dict[str, int] = Field(description="the versions that judged, by policy name")
    containers: tuple[ContainerProposal, ...] = Field(description="after every clamp")
    monthly_saving: Money


class RecommendationApproved(_Judged):
    """May go to Git; `require_approval` means: a person must review the pull request."""


class PolicyViolated(_Judged):
    """Denied; the verdicts say by what."""

    reason: str


class PullRequestCreated(Payload):
    """The recommendation's values are in an open pull request, at this commit of its branch."""

    recommendation_id: str
    workload: Workload
    group: str = Field(description="the Argo CD Application (or workload, or namespace) of the pull request")
    repository: str
    base: str
    branch: str
    commit: str
    number: int
    url: str
    files: tuple[str, ...]
    awaits_approval: bool
    not_in_git: tuple[str, ...] = Field(
        default=(),
        description="containers that are left as they are, for the manifest does not have them: most likely"
        " they are injected at admission",
    )


class ChangeApplied(Payload):
    """The change was merged, Argo CD has synced it, and what lives is healthy and as proposed."""

    recommendation_id: str
    workload: Workload
    application: str
    revision: str = Field(description="the Git revision that Argo CD has synced")
    merge_commit: str
    url: str
    applied_at: EventMoment
    monthly_saving: Money


class FailureReason(StrEnum):
    """Why a recommendation did not become, or did not stay, a change that is live."""

    SYNC_FAILED = "sync_failed"
    DEGRADED = "degraded"
    DEADLINE = "deadline"
    CLOSED_BY_PERSON = "closed_by_person"
    EXPIRED = "expired"
    REFUSED = "refused"
    NOT_LOCATED = "not_located"
    MANAGED_ELSEWHERE = "managed_elsewhere"
    ALREADY_IN_GIT = "already_in_git"
    EDITED_BY_PERSON = "edited_by_person"
    MISSED_MERGE = "missed_merge"  # pushed in the moment of the merge, and not in what was merged


class ChangeFailed(Payload):
    """The recommendation is not live, or not by way of Git: for which reason, in whose words."""

    recommendation_id: str
    workload: Workload
    # Read as any text: a stage that is older than the writer must not dead-letter a reason it does not know.
    reason: Annotated[FailureReason | str, Field(union_mode="left_to_right")]
    message: str
    url: str | None = None
    revision: str | None = None

    @field_validator("reason")
    @classmethod
    def _is_known_when_written(cls, reason: FailureReason | str, info: ValidationInfo) -> FailureReason | str:
        if info.context is not READING and not isinstance(reason, FailureReason):
            raise ValueError(f"{reason!r} is no FailureReason")
        return reason


PAYLOADS: dict[Topic, type[Payload]] = {
    Topic.SCAN_REQUESTED: ScanRequested,
    Topic.RECONCILE_REQUESTED: ReconcileRequested,
    Topic.RECOMMENDATION_CREATED: RecommendationCreated,
    Topic.RECOMMENDATION_APPROVED: RecommendationApproved,
    Topic.POLICY_VIOLATED: PolicyViolated,
    Topic.GITOPS_PR_CREATED: PullRequestCreated,
    Topic.CHANGE_APPLIED: ChangeApplied,
    Topic.CHANGE_FAILED: ChangeFailed,
}
TOPIC_OF_PAYLOAD: dict[type[Payload], Topic] = {model: topic for topic, model in PAYLOADS.items()}


def json_schema(topic: Topic) -> dict[str, Any]:
    """The JSON Schema that the topic's `dataschema` attribute names."""
    schema = PAYLOADS[topic].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": schema_uri(topic)} | schema


def schema_uri(topic: Topic) -> str:
    return f"https://kubefinops.io/schemas/{topic.value}.v1.json"
