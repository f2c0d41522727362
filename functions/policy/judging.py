"""Verdicts: each active rule says allow, clamp, require_approval or deny, with its inputs.

Deny and approval judge the unclamped proposal. Clamps are intervals: those of all rules are intersected,
and an empty intersection denies. The most restrictive verdict wins. A rule whose input is missing denies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil, floor

from shared.contracts.events import (
    ContainerProposal,
    Outcome,
    RecommendationCreated,
    Resources,
    Verdict,
)
from shared.contracts.money import Money
from shared.contracts.policy import Policy, applying, matches
from shared.contracts.pricing import saving_of
from shared.contracts.quantities import MIB, format_cpu, format_memory
from shared.contracts.wording import LABELS

SEVERITY = list(Outcome)
_MakeVerdict = Callable[..., Verdict]


@dataclass(frozen=True)
class Judged:
    """The whole judgement: the most restrictive outcome, all verdicts, and the values after every clamp."""

    outcome: Outcome
    verdicts: tuple[Verdict, ...]
    policies: dict[str, int]
    containers: tuple[ContainerProposal, ...]
    monthly_saving: Money
    reason: str


@dataclass(frozen=True)
class Interval:
    """What a rule lets a value be; None is unbounded."""

    low: int | None = None
    high: int | None = None

    def __and__(self, other: Interval) -> Interval:
        lows = [bound for bound in (self.low, other.low) if bound is not None]
        highs = [bound for bound in (self.high, other.high) if bound is not None]
        return Interval(max(lows, default=None), min(highs, default=None))

    @property
    def is_empty(self) -> bool:
        return self.low is not None and self.high is not None and self.low > self.high

    def clamp(self, value: int) -> int:
        if self.low is not None and value < self.low:
            return self.low
        if self.high is not None and value > self.high:
            return self.high
        return value


def judge(proposal: RecommendationCreated, policies: list[Policy]) -> Judged:
    """What the policies that apply to the proposal's workload make of it."""
    judges = applying(policies, proposal.workload.cluster, proposal.workload.namespace)
    verdicts = [verdict for policy in judges for verdict in _whole(policy, proposal)]
    containers = []
    for container in proposal.containers:
        clamped, said = _clamped(container, judges)
        containers.append(clamped)
        verdicts.extend(said)
    outcome = max((verdict.outcome for verdict in verdicts), key=SEVERITY.index, default=Outcome.ALLOW)
    denied = [verdict.message for verdict in verdicts if verdict.outcome is Outcome.DENY]
    return Judged(
        outcome=outcome,
        verdicts=tuple(verdicts),
        policies={policy.name: policy.version for policy in judges},
        containers=tuple(containers),
        monthly_saving=saving_of(containers, proposal),
        reason="; ".join(denied),
    )


def _whole(policy: Policy, proposal: RecommendationCreated) -> Iterator[Verdict]:
    """The rules that judge the proposal as a whole."""
    rules = policy.rules

    def verdict(rule: str, refused: Outcome | None, message: str, **inputs: object) -> Verdict:
        return Verdict(
            rule=rule,
            policy=policy.name,
            version=policy.version,
            outcome=refused or Outcome.ALLOW,
            message=message,
            inputs={name: str(value) for name, value in inputs.items()},
        )

    if rules.pause:
        yield verdict("pause", Outcome.DENY, "changes are paused")
    if rules.protected_namespaces:
        namespace = proposal.workload.namespace
        protected = matches(rules.protected_namespaces, namespace)
        yield verdict(
            "protected_namespaces",
            Outcome.DENY if protected else None,
            f"namespace {namespace} is {'' if protected else 'not '}protected",
            namespace=namespace,
            protected=",".join(rules.protected_namespaces),
        )
    if rules.minimum_history_hours is not None:
        hours = proposal.history_seconds / 3600
        short = hours < rules.minimum_history_hours
        yield verdict(
            "minimum_history_hours",
            Outcome.DENY if short else None,
            f"{hours:.1f} h of history, {rules.minimum_history_hours:g} h wanted",
            history_hours=f"{hours:.2f}",
            minimum=rules.minimum_history_hours,
        )
    if rules.minimum_confidence is not None:
        unsure = proposal.confidence < rules.minimum_confidence
        yield verdict(
            "minimum_confidence",
            Outcome.DENY if unsure else None,
            f"confidence {proposal.confidence:.2f}, {rules.minimum_confidence:g} wanted",
            confidence=proposal.confidence,
            minimum=rules.minimum_confidence,
        )
    if rules.minimum_monthly_saving is not None:
        yield _minimum_saving(proposal, rules.minimum_monthly_saving, verdict)
    if rules.approval_above_monthly_saving is not None:
        yield _approval(proposal, rules.approval_above_monthly_saving, verdict)


def _minimum_saving(proposal: RecommendationCreated, minimum: Money, verdict: _MakeVerdict) -> Verdict:
    saving = proposal.monthly_saving
    if saving.currency != minimum.currency:
        return verdict(
            "minimum_monthly_saving",
            Outcome.DENY,
            f"the saving is in {saving.currency}, the rule in {minimum.currency}: they cannot be compared",
        )
    # A value that must go up costs money by design: it is there to prevent harm, not to save.
    raises = any(
        _raises(container.current.memory_request_bytes, container.proposed.memory_request_bytes)
        or _raises(container.current.cpu_request_m, container.proposed.cpu_request_m)
        or _raises(container.current.memory_limit_bytes, container.proposed.memory_limit_bytes)
        for container in proposal.containers
    )
    small = saving.amount < minimum.amount and not raises
    return verdict(
        "minimum_monthly_saving",
        Outcome.DENY if small else None,
        f"saves {saving} a month, at least {minimum} wanted",
        saving=saving.amount,
        minimum=minimum.amount,
        raises_a_value=raises,
    )


def _approval(proposal: RecommendationCreated, above: Money, verdict: _MakeVerdict) -> Verdict:
    saving = proposal.monthly_saving
    if saving.currency != above.currency:
        return verdict(
            "approval_above_monthly_saving",
            Outcome.DENY,
            f"the saving is in {saving.currency}, the rule in {above.currency}: they cannot be compared",
        )
    large = abs(saving.amount) > above.amount
    return verdict(
        "approval_above_monthly_saving",
        Outcome.REQUIRE_APPROVAL if large else None,
        f"changes {abs(saving.amount):.2f} {saving.currency} a month; above {above} a person must review it",
        saving=saving.amount,
        above=above.amount,
    )


def _raises(current: int | None, proposed: int | None) -> bool:
    return current is not None and proposed is not None and proposed > current


def _clamped(container: ContainerProposal, policies: list[Policy]) -> tuple[ContainerProposal, list[Verdict]]:
    """The container within the intervals of all policies, and what each rule said of it."""
    verdicts: list[Verdict] = []
    fields: dict[str, int | None] = {}
    moved: dict[str, tuple[Verdict, str]] = {}
    for name in ("cpu_request_m", "memory_request_bytes", "cpu_limit_m", "memory_limit_bytes"):
        current, value = getattr(container.current, name), getattr(container.proposed, name)
        fields[name] = value
        if value is None or value == current:
            continue
        show = _showing(name)
        allowed = Interval()
        clamped_by: dict[int, tuple[Verdict, str]] = {}
        for policy in policies:
            for rule, words, interval in _intervals(policy, name, container.current):
                allowed = allowed & interval
                clamped = interval.clamp(value)
                if clamped != value:
                    verdict = Verdict(
                        rule=rule,
                        policy=policy.name,
                        version=policy.version,
                        outcome=Outcome.CLAMP,
                        message=f"{LABELS[name]} {show(value)} -> {show(clamped)}: {words}",
                        container=container.name,
                        inputs={"before": str(value), "after": str(clamped), "current": str(current)},
                    )
                    verdicts.append(verdict)
                    clamped_by.setdefault(clamped, (verdict, words))
        if allowed.is_empty:
            assert allowed.low is not None
            assert allowed.high is not None
            said = (
                f"{LABELS[name]}: the rules leave no value"
                f" (at least {show(allowed.low)}, at most {show(allowed.high)})"
            )
            verdicts.append(_no_value(container, said, policies[-1]))
        else:
            fields[name] = value = allowed.clamp(value)
            if value in clamped_by:
                moved[name] = clamped_by[value]
    if not any(verdict.outcome is Outcome.DENY for verdict in verdicts):
        verdicts += _requests_within_limits(container, fields, moved, policies)
    return container.model_copy(update={"proposed": Resources.model_validate(fields)}), verdicts


def _no_value(container: ContainerProposal, said: str, policy: Policy) -> Verdict:
    return Verdict(
        rule="intersection",
        policy=policy.name,
        version=policy.version,
        outcome=Outcome.DENY,
        message=f"{container.name}: {said}",
        container=container.name,
    )


def _requests_within_limits(
    container: ContainerProposal,
    fields: dict[str, int | None],
    moved: dict[str, tuple[Verdict, str]],
    policies: list[Policy],
) -> Iterator[Verdict]:
    """What is said where the clamps put a request above its limit, which Kubernetes refuses; edits `fields`.

    The limit follows the request that a rule has moved; else the request, unless it would be lowered, the
    limit that one has. Where no rule lets either, nothing is left.
    """
    for request, limit in (("cpu_request_m", "cpu_limit_m"), ("memory_request_bytes", "memory_limit_bytes")):
        wanted, most = fields[request], fields[limit]
        if wanted is None or most is None or wanted <= most:
            continue
        show = _showing(request)
        for leader, follower, value in ((request, limit, wanted), (limit, request, most)):
            now = getattr(container.current, follower)
            lowered = follower == request and now is not None and value < now
            if (
                leader not in moved
                or lowered
                or not _is_allowed(value, follower, container.current, policies)
            ):
                continue
            verdict, words = moved[leader]
            before = getattr(container.proposed, follower)
            follows = f"{words}; the {LABELS[follower]} follows the {LABELS[leader]}"
            fields[follower] = value
            yield verdict.model_copy(
                update={
                    "message": f"{LABELS[follower]} {show(before)} -> {show(value)}: {follows}",
                    "inputs": {"before": str(before), "after": str(value), "current": str(now)},
                }
            )
            break
        else:
            said = (
                f"{LABELS[request]} {show(wanted)} is above the limit {show(most)}: the rules leave no other"
            )
            yield _no_value(container, said, policies[-1])


def _is_allowed(value: int, field: str, current: Resources, policies: list[Policy]) -> bool:
    return all(
        interval.clamp(value) == value
        for policy in policies
        for _, _, interval in _intervals(policy, field, current)
    )


def _showing(field: str) -> Callable[[int], str]:
    return format_cpu if field.startswith("cpu") else format_memory


def _intervals(policy: Policy, field: str, current: Resources) -> Iterator[tuple[str, str, Interval]]:
    """Rule, its words, and what it lets the value be."""
    rules = policy.rules
    is_cpu = field.startswith("cpu")
    unit, show = ("CPU", format_cpu) if is_cpu else ("memory", format_memory)
    now = getattr(current, field)
    # A share of what is set is no round figure, and this one ends up in a manifest: in whole MiB, on the
    # careful side, but never beyond what is set, which no step is.
    step = 1 if is_cpu else MIB
    if now is not None and rules.max_step_down_percent is not None:
        words = f"steps down of at most {rules.max_step_down_percent:g}%"
        low = min(now, ceil(now * (1 - rules.max_step_down_percent / 100) / step) * step)
        yield "max_step_down_percent", words, Interval(low=low)
    if now is not None and rules.max_step_up_percent is not None:
        words = f"steps up of at most {rules.max_step_up_percent:g}%"
        high = max(now, floor(now * (1 + rules.max_step_up_percent / 100) / step) * step)
        yield "max_step_up_percent", words, Interval(high=high)
    least = rules.cpu_floor if is_cpu else rules.memory_floor
    most = rules.cpu_ceiling if is_cpu else rules.memory_ceiling
    if least is not None:
        yield f"{unit.lower()}_floor", f"at least {show(least)} of {unit}", Interval(low=least)
    # A ceiling binds what is requested; a limit above it is the workload's own burst, unless the two are
    # one value, as in a Guaranteed pod: there a ceiling of one alone would change the QoS class.
    request, limit = (
        (current.cpu_request_m, current.cpu_limit_m)
        if is_cpu
        else (current.memory_request_bytes, current.memory_limit_bytes)
    )
    if most is not None and ("request" in field or request == limit):
        yield f"{unit.lower()}_ceiling", f"at most {show(most)} of {unit}", Interval(high=most)
