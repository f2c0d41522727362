"""What a container should ask for, given what it used: each rule of the engine, alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.recommender.container import Remembered, is_worth, round_cpu, round_memory
from functions.recommender.fitted import MEMORY_DAYS
from functions.recommender.sizing import (
    Day,
    Estimate,
    Jvm,
    Observed,
    ObservedContainer,
    QosClass,
    Rules,
    Sized,
    qos_class,
    size,
    size_all,
)
from shared.contracts.events import ContainerProposal, Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.quantities import parse_cpu, parse_memory

MIB = 2**20
RULES = Rules()
FORTNIGHT = 14 * 86400


def usage(
    cpu: float = 200,
    cpu_max: float = 300,
    peak: int = 200,
    *,
    samples: int = 4032,
    pods: int = 1,
    **more: object,
) -> Usage:
    """CPU in millicores, memory's peak in MiB."""
    return Usage.model_validate(
        {
            "cpu_p95_m": cpu,
            "cpu_max_m": cpu_max,
            "memory_p95_bytes": int(peak * 0.9) * MIB,
            "memory_max_bytes": peak * MIB,
            "samples": samples,
            "pods": pods,
            **more,
        }
    )


def resources(
    cpu: int | None, memory: int | None, cpu_limit: int | None = None, memory_limit: int | None = None
) -> Resources:
    """CPU in millicores, memory in MiB."""
    return Resources(
        cpu_request_m=cpu,
        cpu_limit_m=cpu_limit,
        memory_request_bytes=None if memory is None else memory * MIB,
        memory_limit_bytes=None if memory_limit is None else memory_limit * MIB,
    )


def observed(
    current: Resources,
    used: Usage | None = None,
    *,
    kind: str = "Deployment",
    oom_killed: bool = False,
    scales_on: frozenset[str] = frozenset(),
    history: int = FORTNIGHT,
) -> Observed:
    container = ObservedContainer("app", current, used or usage(), history, oom_killed)
    workload = Workload(cluster="local", namespace="shop", kind=kind, name="checkout")
    return Observed(workload, 2, 2.0, (container,), scales_on)


def only(sized: Sized) -> ContainerProposal:
    assert sized.skipped is None
    (container,) = sized.containers
    return container


def proposed(current: Resources, used: Usage | None = None, **more: object) -> Resources:
    return only(size(observed(current, used, **more), RULES)).proposed  # type: ignore[arg-type]


def reason(current: Resources, used: Usage | None = None, **more: object) -> str:
    sized = size(observed(current, used, **more), RULES)  # type: ignore[arg-type]
    assert sized.skipped is not None
    return sized.skipped


def test_the_requests_are_the_p95_of_cpu_and_the_peak_of_memory_with_headroom() -> None:
    assert proposed(resources(1000, 1024)) == resources(230, 230)


def test_what_a_start_took_before_the_history_is_not_lowered() -> None:
    remembered = Remembered(started_cpu_m=800, started_memory_bytes=600 * MIB)

    def sized(current: Resources) -> ContainerProposal:
        one = observed(current)
        started = replace(one.containers[0], remembered=remembered)
        return size(replace(one, containers=(started,)), RULES).containers[0]

    burstable = sized(resources(1000, 1024, 4000, 2048))
    assert burstable.proposed == resources(230, 780, 1600, 2048)
    assert burstable.reasons[1].endswith(
        "not below twice 800m, used on the day of its last start, for bursts shorter than 5 minutes"
    )
    assert burstable.reasons[2] == (
        "memory request 1Gi -> 780Mi: the peak is 200Mi in its one pod, plus 15%; not lowered below 600Mi"
        " used on the day of its last start, plus 30%"
    )
    guaranteed = sized(resources(2000, 1024, 2000, 1024))
    assert guaranteed.proposed == resources(920, 780, 920, 780)
    assert guaranteed.reasons[0] == (
        "CPU request 2 -> 920m: in a Guaranteed pod it is the limit too, and not lowered below 800m, used on"
        " the day of its last start, plus 15%"
    )
    assert guaranteed.reasons[2] == (
        "memory request 1Gi -> 780Mi: in a Guaranteed pod it is the limit too, and lowered no further: 600Mi"
        " used on the day of its last start, plus 30%"
    )
    # What is less already is not raised for it.
    assert sized(resources(250, 250, 4000)).proposed == resources(250, 250, 4000)


def test_what_a_limit_throttles_in_most_periods_is_raised_by_as_much_more_as_it_was_raised_before() -> None:
    used = usage(cpu=100, cpu_max=1000, throttled_share=0.9)

    def sized(limit: int, **more: Any) -> ContainerProposal:
        one = observed(resources(limit, 260, limit, 260), used)
        (container,) = one.containers
        container = replace(container, remembered=Remembered(cpu_held_m=1000, **more))
        proposal = size(replace(one, containers=(container,)), RULES).containers[0]
        assert proposal.proposed.cpu_limit_m == proposal.proposed.cpu_request_m
        return proposal

    for before, then in ((1000, 1150), (870, 1330), (500, 2000), (100, 2000)):
        assert sized(1000, cpu_least_held_m=before).proposed.cpu_limit_m == then
    assert sized(1000, cpu_least_held_m=500).reasons[0] == (
        "CPU request 1 -> 2: in a Guaranteed pod it is the limit too: it is throttled in most periods at"
        " 1000m, as it was at 500m"
    )
    # Another limit did so.
    assert sized(1200, cpu_least_held_m=500).proposed.cpu_limit_m == 1200
    follows = sized(1000, cpu_least_held_m=200, cpu_follows=True)
    assert follows.proposed.cpu_limit_m == 1000
    assert "not above the limit: use rose with it from 200m" in follows.reasons[0]


def test_a_limit_that_throttles_in_most_periods_is_raised_though_the_request_stays() -> None:
    """As of a batch for an hour each night, which no quantile of the day sees."""
    one = observed(resources(100, 230, 1000), usage(cpu=80, cpu_max=1000, throttled_share=0.8))
    (container,) = one.containers
    held = replace(container, remembered=Remembered(cpu_held_m=1000, cpu_least_held_m=1000))
    raised = only(size(replace(one, containers=(held,)), RULES))
    assert raised.proposed == resources(100, 230, 1150)
    assert raised.reasons[1] == "CPU limit 1 -> 1150m: it is throttled in most periods at 1000m"
    follows = replace(container, remembered=Remembered(1000, 200, cpu_follows=True))
    assert size(replace(one, containers=(follows,)), RULES).skipped is not None


def test_every_value_has_a_sentence() -> None:
    container = only(size(observed(resources(1000, 1024, 2000, 2048)), RULES))
    assert container.reasons == (
        "CPU request 1 -> 230m: p95 over 5-minute windows is 200m in its one pod, plus 15%",
        (
            "CPU limit 2 -> 600m: scales with the request, but not below twice the peak of 300m, for bursts"
            " shorter than 5 minutes"
        ),
        "memory request 1Gi -> 230Mi: the peak is 200Mi in its one pod, plus 15%",
        "memory limit stays 2Gi: the peak is 200Mi; a limit costs nothing, and lowering one can only kill",
    )


def test_a_sentence_says_among_how_many_pods_it_is_the_worst_and_from_what_it_rises() -> None:
    several = only(size(observed(resources(1000, 1024), usage(pods=3)), RULES))
    assert "in the worst of 3 pods" in several.reasons[0]
    used = usage(cpu=900, peak=200, oom_kills=1)
    killed = only(size(observed(resources(1000, 200, None, 256), used, oom_killed=True), RULES))
    assert killed.reasons[3] == (
        "memory limit 256Mi -> 356Mi: 1 OOM kill within 7 days under this limit:"
        " at once a fifth more than the limit of 256Mi, or 100Mi if that is more"
    )


def test_a_value_that_stays_is_not_told_as_a_change() -> None:
    container = only(size(observed(resources(1000, 230, 1000, 230), usage(cpu=100, peak=176)), RULES))
    assert container.reasons[3] == "memory limit stays 230Mi: equal to the request (Guaranteed)"


def test_a_request_that_is_not_set_is_proposed_where_the_qos_class_stays() -> None:
    assert proposed(resources(None, 1024)) == resources(230, 230)


def test_no_limit_is_introduced() -> None:
    assert proposed(resources(1000, 1024)).cpu_limit_m is None
    assert proposed(resources(1000, 1024)).memory_limit_bytes is None


def test_a_cpu_limit_scales_with_the_request_but_not_into_the_peak() -> None:
    assert proposed(resources(1000, 1024, 4000), usage(200, cpu_max=300)).cpu_limit_m == 920
    assert proposed(resources(1000, 1024, 1500), usage(200, cpu_max=600)).cpu_limit_m == 1200
    assert proposed(resources(1000, 1024, 1500), usage(200, cpu_max=900)).cpu_limit_m == 1500
    assert proposed(resources(100, 1024, 200), usage(200, cpu_max=150)).cpu_limit_m == 460


def test_a_memory_limit_is_raised_when_the_peak_comes_near_and_never_lowered() -> None:
    assert proposed(resources(1000, 1024, None, 4096), usage(peak=200)).memory_limit_bytes == 4096 * MIB
    assert proposed(resources(1000, 300, None, 320), usage(peak=300)).memory_limit_bytes == 390 * MIB


def test_in_a_guaranteed_pod_requests_and_limits_stay_equal_and_hold_the_peaks() -> None:
    assert proposed(resources(1000, 1024, 1000, 1024)) == resources(345, 260, 345, 260)


def test_a_floor_holds_but_raises_nothing_that_suffices() -> None:
    small = usage(cpu=1, cpu_max=2, peak=3)
    assert proposed(resources(1000, 1024), small) == resources(10, 32)
    assert "not worth a change" in reason(resources(5, 16), small)
    assert proposed(resources(9, 1024), usage(cpu=18, cpu_max=20)).cpu_request_m == 21


def test_memory_is_not_lowered_after_an_oom_kill() -> None:
    used = usage(peak=200, oom_kills=1)
    assert proposed(resources(1000, 1024), used) == resources(230, 1024)


@pytest.mark.parametrize(("request_", "limit", "raised"), [(200, 256, 356), (600, 1000, 1200)])
def test_a_limit_that_kills_is_raised_at_once(request_: int, limit: int, raised: int) -> None:
    used = usage(cpu=900, peak=200, oom_kills=2)
    after = proposed(resources(1000, request_, None, limit), used, oom_killed=True)
    expected = round_memory(raised * MIB)
    assert (after.memory_request_bytes, after.memory_limit_bytes) == (expected, expected)


def test_what_is_killed_without_a_limit_is_not_told_to_be_under_one() -> None:
    killed = size(observed(resources(500, 200), usage(peak=200, oom_kills=1), oom_killed=True), RULES)
    assert only(killed).reasons[2] == (
        "memory request 200Mi -> 300Mi: 1 OOM kill within 7 days without a limit: at once a fifth more than"
        " the peak of 200Mi, or 100Mi if that is more"
    )


@pytest.mark.parametrize("history", [FORTNIGHT, 3600])
def test_a_limit_that_kills_is_raised_though_it_meet_the_request_and_the_pod_stays_burstable(
    history: int,
) -> None:
    killed = usage(cpu=80, cpu_max=85, peak=190, oom_kills=1)
    current = resources(100, 190, cpu_limit=100, memory_limit=200)
    container = only(size(observed(current, killed, history=history, oom_killed=True), RULES))
    assert container.proposed == resources(100, 299, cpu_limit=100, memory_limit=300)
    assert container.reasons[2].startswith(
        "memory request 190Mi -> 299Mi: at its limit's 300Mi the pod would be Guaranteed (else memory request"
        " 190Mi -> 300Mi: 1 OOM kill"
    )


def test_a_limit_that_kills_is_raised_no_less_than_one_that_does_not_yet() -> None:
    near = usage(cpu=130, cpu_max=130, peak=480)
    usual = sized_by_estimate(resources(150, 500, None, 500), near)
    killed = sized_by_estimate(
        resources(150, 500, None, 500), near.model_copy(update={"oom_kills": 2}), oom_killed=True
    )
    assert usual.proposed.memory_limit_bytes == 1000 * MIB
    assert killed.proposed.memory_limit_bytes == 1200 * MIB
    assert killed.reasons[3] == (
        "memory limit 500Mi -> 1200Mi: 2 OOM kills within 7 days under this limit; balanced: so much more for"
        " a limit; no further than twice what is set or requested"
    )


@pytest.mark.parametrize("history", [FORTNIGHT, 3600])
def test_after_a_kill_a_request_far_below_the_limit_is_raised_to_twice_and_the_limit_at_once(
    history: int,
) -> None:
    """As high as the limit, the pods might find room on no node."""
    killed = usage(cpu=900, peak=120, oom_kills=1)
    current = resources(1000, 256, None, 8192)
    container = only(size(observed(current, killed, history=history, oom_killed=True), RULES))
    assert container.proposed == resources(1000, 512, None, 9840)
    assert container.reasons[2].endswith("; no further than twice what is set or use needs")
    needed = proposed(current, usage(cpu=900, peak=1000, oom_kills=1), oom_killed=True)
    assert needed == resources(1000, 2304, None, 9840)


def test_memory_is_not_lowered_where_an_oom_kill_would_not_be_seen() -> None:
    blind = replace(observed(resources(1000, 1024)), tells_kills=False)
    container = only(size(blind, RULES))
    assert container.proposed == resources(230, 1024)
    assert container.reasons[2] == (
        "memory request stays 1Gi: OOM kills would not be seen, so it is not lowered (kubefinops doctor says"
        " what is missing)"
    )
    short = replace(observed(resources(230, 100)), tells_kills=False)
    assert only(size(short, RULES)).proposed == resources(230, 230)
    sized = size(replace(observed(resources(230, 1024)), tells_kills=False), RULES)
    assert sized.skipped is not None
    assert sized.skipped.endswith("; memory is not lowered, as OOM kills would not be seen")


def test_a_kill_under_a_former_limit_does_not_raise_it_again() -> None:
    used = usage(cpu=900, peak=200, oom_kills=2)
    assert "not worth a change" in reason(resources(1000, 300, None, 400), used)


def test_a_throttled_container_keeps_its_cpu() -> None:
    used = usage(throttled_share=0.2)
    assert proposed(resources(1000, 1024, 1000), used) == resources(1000, 230, 1000)


def test_a_cpu_limit_that_throttles_now_and_then_is_not_lowered() -> None:
    """Its bursts come up to it, whatever the mean over five minutes is."""
    used = usage(cpu=100, cpu_max=110, peak=50, throttled_share=0.01)
    container = only(size(observed(resources(1000, 64, 2000, 128), used), RULES))
    assert container.proposed == resources(115, 64, 2000, 128)
    assert container.reasons[1] == "CPU limit stays 2: it throttles in 1% of periods already"
    # In a Guaranteed pod the request is the limit.
    guaranteed = resources(2000, 1024, 2000, 1024)
    assert proposed(guaranteed, used).cpu_request_m == 2000
    seldom = used.model_copy(update={"throttled_share": 0.009})
    assert proposed(resources(1000, 64, 2000, 128), seldom).cpu_limit_m == 230
    assert proposed(guaranteed, seldom).cpu_request_m == 130


def test_a_cpu_limit_is_raised_no_further_than_twice_what_is_set_or_requested() -> None:
    container = only(size(observed(resources(100, 230, 2000), usage(cpu=1500, cpu_max=1600)), RULES))
    assert (container.proposed.cpu_request_m, container.proposed.cpu_limit_m) == (1730, 4000)
    assert container.reasons[1] == (
        "CPU limit 2 -> 4: scales with the request, no further than twice what is set or requested"
    )
    by_request = proposed(resources(10, 230, 1000), usage(cpu=900, cpu_max=1000))
    assert (by_request.cpu_request_m, by_request.cpu_limit_m) == (1040, 2080)


def test_what_runs_to_completion_is_sized_by_its_peak_and_counted_by_runs() -> None:
    used = usage(pods=5, samples=20)
    assert proposed(resources(1000, 1024), used, kind="CronJob") == resources(345, 230)
    assert reason(resources(1000, 1024), usage(pods=4), kind="CronJob") == (
        "too little data: app: 4 runs, 5 wanted"
    )


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_runs_that_use_up_their_cpu_limit_are_not_given_more_and_more(kind: str) -> None:
    """They may take whatever they are given, and no days tell: after each night it would be raised again."""
    used = usage(cpu=1000, cpu_max=1000, throttled_share=0.9, pods=14)
    raised = only(size(observed(resources(500, 230, 1000), used, kind=kind), RULES))
    assert (raised.proposed.cpu_request_m, raised.proposed.cpu_limit_m) == (1000, 1000)
    assert raised.reasons[1] == (
        "CPU limit stays 1: its runs use 1000m of it, and may take whatever they are given"
    )
    assert size(observed(raised.proposed, used, kind=kind), RULES).skipped is not None
    # One that is not used up scales with the request.
    spare = only(size(observed(resources(500, 230, 1200), used, kind=kind), RULES))
    assert (spare.proposed.cpu_request_m, spare.proposed.cpu_limit_m) == (1150, 2400)


def test_runs_that_fill_their_memory_limit_and_are_not_killed_are_not_given_more_and_more() -> None:
    """As those of a backup, which reads files: cache counts as used, and would fill any limit."""
    current = resources(None, 500, None, 1000)
    filling = size(observed(current, usage(peak=980, pods=14), kind="CronJob"), RULES).containers[0]
    assert filling.proposed == resources(345, 1000, None, 1000)
    assert filling.reasons[3] == (
        "memory limit stays 1000Mi: its runs come up to it and are not killed, as with cache, which the"
        " kernel takes back and which would fill more"
    )
    for peak, kills, limit in ((870, 0, 1131), (980, 1, 1274), (1100, 0, 1430)):
        used = usage(peak=peak, pods=14, oom_kills=kills)
        sized = size(observed(current, used, kind="CronJob", oom_killed=kills > 0), RULES)
        assert sized.containers[0].proposed.memory_limit_bytes == round_memory(limit * MIB), peak


def test_too_little_data_is_said() -> None:
    assert reason(resources(1000, 1024), history=3600) == (
        "too little data: app: 1.0 h of history, 24 h wanted"
    )
    assert reason(resources(1000, 1024), usage(samples=29)) == "too little data: app: 29 samples, 30 wanted"


def test_nothing_is_proposed_of_what_was_read_in_part() -> None:
    whole = observed(resources(1000, 1024))
    torn = replace(whole, containers=(replace(whole.containers[0], torn=True),))
    assert size(whole, RULES).skipped is None
    assert size(torn, RULES).skipped == (
        "memory of app was read in part: of some day its peak is told and no window, or windows and no peak,"
        " or an OOM kill in one answer and not in another; several servers behind one address may have"
        " answered"
    )


def test_a_container_of_which_little_is_known_keeps_no_other_from_being_sized() -> None:
    whole = observed(resources(1000, 1024, 2000, 2048))
    new = ObservedContainer("sidecar", resources(500, 512), usage(), 4 * 3600)
    sized = size(replace(whole, containers=(*whole.containers, new)), RULES)
    assert sized.skipped is None
    app, sidecar = sized.containers
    assert app.proposed == only(size(whole, RULES)).proposed
    assert sidecar.proposed == sidecar.current
    why = "too little data: sidecar: 4.0 h of history, 24 h wanted"
    assert sidecar.reasons == (
        f"CPU request stays 500m: {why}",
        f"CPU limit stays -: {why}",
        f"memory request stays 512Mi: {why}",
        f"memory limit stays -: {why}",
    )
    # What is not changed is no reason to trust the rest less.
    assert (sized.confidence, sized.history_seconds) == (0.9333, FORTNIGHT)
    kept = replace(whole.containers[0], current=resources(230, 230))
    unchanged = size(replace(whole, containers=(kept, new)), RULES)
    assert unchanged.skipped is not None
    assert unchanged.skipped.endswith("; too little data of others: sidecar: 4.0 h of history, 24 h wanted")


@pytest.mark.parametrize("history", [3600, FORTNIGHT])
def test_however_little_is_known_a_limit_that_kills_is_raised(history: int) -> None:
    used = usage(cpu=900, peak=200, oom_kills=1)
    killed = observed(resources(1000, 200, None, 256), used, oom_killed=True, history=history)
    container = only(size(killed, RULES))
    assert container.proposed == resources(1000, 356, None, 356)
    assert container.reasons[3].startswith("memory limit 256Mi -> 356Mi: 1 OOM kill within 7 days")


def test_best_effort_stays_best_effort_unless_told_otherwise() -> None:
    assert reason(Resources()).startswith("BestEffort")
    sized = size(observed(Resources()), replace(RULES, keep_qos=False))
    assert only(sized).proposed == resources(230, 230)


@pytest.mark.parametrize(
    "current", [resources(None, None, 2000, 1024), resources(1000, None, None, 64), resources(None, 64, 100)]
)
def test_limits_without_requests_are_no_setting_but_what_is_not_told(current: Resources) -> None:
    assert reason(current) == "its limits are told, and not its requests (kubefinops doctor)"


def test_a_small_difference_is_not_proposed() -> None:
    assert "not worth a change" in reason(resources(240, 240))
    # Small in relative terms, in absolute terms, in both, in neither.
    assert not is_worth(1000, 901, 0.1, 10)
    assert not is_worth(20, 29, 0.1, 10)
    assert not is_worth(10, 10, 0.1, 0)
    assert is_worth(100, 90, 0.1, 10)


@pytest.mark.parametrize(
    ("cpu", "memory", "kept"),
    [
        # Use of 10m and 80Mi: 12m and 92Mi with the headroom.
        ("14m", "100Mi", True),
        ("21m", "107Mi", True),
        ("22m", "108Mi", False),
        ("100m", "512Mi", False),
    ],
)
def test_a_few_millicores_and_mebibytes_are_not_worth_a_change(cpu: str, memory: str, kept: bool) -> None:
    current = Resources(cpu_request_m=parse_cpu(cpu), memory_request_bytes=parse_memory(memory))
    sized = size(observed(current, usage(cpu=10, cpu_max=10, peak=80)), RULES)
    assert (sized.skipped is not None) == kept
    if kept:
        assert sized.skipped == (
            "not worth a change: every value is within 10% of what is set, or within 10m and 16Mi of it,"
            " or above it though use fits in what is set"
        )
    else:
        assert only(sized).proposed == Resources(cpu_request_m=12, memory_request_bytes=92 * MIB)


def test_what_stays_for_kills_or_throttling_is_not_told_to_be_what_it_should_be() -> None:
    used = usage(peak=200, oom_kills=2, throttled_share=0.2)
    assert reason(resources(1000, 1024, 1000, 2048), used).endswith(
        "; memory of app aside, with 2 OOM kills within 7 days; CPU of app aside, throttled in 20% of periods"
    )
    guaranteed = resources(1000, 260, 1000, 260)
    assert reason(guaranteed, usage(throttled_share=0.01)).endswith(
        "; CPU of app aside, throttled in 1% of periods"
    )
    killed = observed(resources(350, 1024, 350, 1024))
    (container,) = killed.containers
    killed = replace(killed, containers=(replace(container, killed_limit_bytes=1000 * MIB),))
    assert (size(killed, RULES).skipped or "").endswith(
        "; memory of app aside: killed under a limit of 1000Mi"
    )


def test_a_limit_that_is_short_is_raised_however_small_it_is() -> None:
    near = usage(cpu=5, cpu_max=10, peak=33)
    assert proposed(resources(10, 38, None, 38), near) == resources(10, 38, None, 43)
    assert proposed(resources(8, 38, 8, 38), near) == resources(12, 43, 12, 43)


@pytest.mark.parametrize(
    ("scales_on", "current", "skipped"),
    [
        ({"cpu"}, resources(1000, 230), True),
        ({"cpu"}, resources(230, 1024), False),
        ({"cpu"}, resources(1000, 1024), False),
        ({"cpu", "memory"}, resources(1000, 1024), True),
        ({"memory"}, resources(230, 1024), True),
        ({"unknown"}, resources(230, 1024), True),
    ],
)
def test_what_an_autoscaler_scales_on_is_left_alone(
    scales_on: set[str], current: Resources, skipped: bool
) -> None:
    sized = size(observed(current, scales_on=frozenset(scales_on)), RULES)
    assert (sized.skipped is not None and "HorizontalPodAutoscaler" in sized.skipped) == skipped


def bounded(given_: Observed, least: Resources, most: Resources) -> Observed:
    (container,) = given_.containers
    return replace(given_, containers=(replace(container, bounds=(least, most)),))


def test_nothing_is_proposed_that_a_limit_range_would_not_admit() -> None:
    lowered = bounded(observed(resources(1000, 1024)), resources(300, 256), Resources())
    container = only(size(lowered, RULES))
    assert container.proposed == resources(300, 256)
    wants = "which a LimitRange of its namespace wants"
    assert container.reasons[0].endswith(f", not below 300m, {wants}")
    assert container.reasons[2].endswith(f", not below 256Mi, {wants}")
    used = usage(cpu=900, peak=200, oom_kills=1)
    killed = observed(resources(500, 200, None, 256), used, oom_killed=True)
    container = only(size(bounded(killed, Resources(), resources(800, 300)), RULES))
    assert container.proposed == resources(800, 300, None, 300)
    assert container.reasons[3].startswith(
        "memory limit 256Mi -> 300Mi: a LimitRange of its namespace allows no more (else memory limit 256Mi"
        " -> 356Mi: 1 OOM kill"
    )
    # At most as far above the request as it may be: that is raised too, but not beside an autoscaler.
    ratio = resources(None, None, None, 400)
    assert only(size(bounded(killed, Resources(), ratio), RULES)).proposed.memory_limit_bytes == 356 * MIB
    scaled = replace(
        bounded(killed, Resources(), resources(None, None, None, 300)), scales_on=frozenset({"memory"})
    )
    assert only(size(scaled, RULES)).proposed == resources(1040, 200, None, 300)
    # What is set is not lowered for it, nor told to be enough.
    short = bounded(observed(resources(500, 200), usage(cpu=900, peak=400)), Resources(), resources(100, 100))
    assert size(short, RULES).skipped == (
        "what it needs would not be admitted: a LimitRange of its namespace allows no more"
    )


def test_nothing_is_raised_beyond_what_a_pod_may_have() -> None:
    killed = observed(resources(500, 200, None, 256), usage(cpu=900, peak=200, oom_kills=1), oom_killed=True)
    assert only(size(killed, RULES)).proposed == resources(1040, 356, None, 356)
    by_quota = replace(killed, pod_bounds={"ResourceQuota": resources(None, None, None, 300)})
    container = only(size(by_quota, RULES))
    assert container.proposed == resources(1040, 300, None, 300)
    assert container.reasons[3].startswith(
        "memory limit 256Mi -> 300Mi: a ResourceQuota of its namespace has no room for more in all of its"
        " pods and those that a rollout adds (else memory limit 256Mi -> 356Mi: 1 OOM kill"
    )
    assert container.reasons[2].startswith("memory request 200Mi -> 300Mi: not above its limit (else")
    # Of several the least counts, and what is so little more is not worth a change.
    bounds = {"node": resources(900, 999), "LimitRange": resources(700, 210, 999, 262)}
    assert only(size(replace(killed, pod_bounds=bounds), RULES)).proposed == resources(700, 200, None, 256)
    none = {"node": resources(500, 100), "ResourceQuota": resources(None, None, None, 256)}
    assert size(replace(killed, pod_bounds=none), RULES).skipped == (
        "what it needs would not be admitted: a ResourceQuota of its namespace has no room for more in all of"
        " its pods and those that a rollout adds; no node has more to give to a pod, a tenth left for"
        " DaemonSets; app has 1 OOM kill within 7 days"
    )
    # What is lowered is not minded, though it be more than there is.
    lowered = replace(observed(resources(1000, 1024)), pod_bounds={"node": resources(100, 100)})
    assert only(size(lowered, RULES)).proposed == resources(230, 230)


def test_a_cpu_limit_is_not_raised_for_a_request_that_a_pod_may_not_have() -> None:
    """It would be doubled each time, for a request that stays."""
    busy = replace(
        observed(resources(1000, 460, 2000, None), usage(cpu=2600, cpu_max=2800, peak=400)),
        pod_bounds={"node": resources(1000, None)},
    )
    assert (size(busy, RULES).skipped or "").startswith(
        "what it needs would not be admitted: no node has more"
    )
    half = replace(busy, pod_bounds={"node": resources(1500, None)})
    assert only(size(half, RULES)).proposed == resources(1500, 460, 3000, None)


def test_what_a_limit_range_has_of_both_values_holds_for_a_request_that_is_held() -> None:
    tight = observed(resources(1000, 1000, None, 2000), usage(cpu=900, peak=1700))
    (container,) = tight.containers
    most = resources(None, None, None, 2000)  # twice the request
    tight = replace(
        tight,
        containers=(replace(container, bounds=(Resources(), most)),),
        pod_bounds={"node": resources(None, 1100)},
    )
    assert only(size(tight, RULES)).proposed == resources(1000, 1100, None, 2200)


def test_what_is_set_where_nothing_was_is_no_more_than_a_pod_may_have() -> None:
    unset = observed(resources(1000, None), usage(cpu=900, peak=950))
    assert only(size(unset, RULES)).proposed.memory_request_bytes == 1104 * MIB
    bounded_ = replace(unset, pod_bounds={"node": resources(None, 1000)})
    assert only(size(bounded_, RULES)).proposed == resources(1000, 1000)
    nothing = replace(unset, pod_bounds={"node": resources(None, 1)})
    reason = size(nothing, RULES).skipped
    assert reason == (
        "what it needs would not be admitted: no node has more to give to a pod, a tenth left for DaemonSets,"
        " or too little to be worth a change"
    )


def test_a_request_is_lowered_as_far_as_the_limit_beside_it_allows() -> None:
    """The CPU limit goes down with the request, so that their ratio holds nothing; memory's stays."""
    ratio = resources(None, None, 2000, 2048)  # twice the present requests
    used = usage(cpu_max=200)
    wide = bounded(observed(resources(1000, 1024, 2000, 2048), used), Resources(), ratio)
    container = only(size(wide, RULES))
    assert container.proposed == resources(230, 1024, 460, 2048)
    assert container.reasons[2].startswith(
        "memory request stays 1Gi: a LimitRange of its namespace wants no less beside its limit (else memory"
    )
    bursts = bounded(observed(resources(1000, 1024, 2000, 2048)), Resources(), ratio)
    assert only(size(bursts, RULES)).proposed == resources(300, 1024, 600, 2048)
    narrow = bounded(observed(resources(1000, 1024, 1000, 1024), used), Resources(), ratio)
    assert only(size(narrow, RULES)).proposed == resources(230, 260, 230, 260)


def test_a_pod_is_lowered_as_far_as_limit_ranges_want_of_it() -> None:
    (one,) = observed(resources(1000, 1024, 2000, None), usage(cpu_max=200)).containers
    two = replace(observed(one.current), containers=(one, replace(one, name="second")))
    assert [each.proposed for each in size(two, RULES).containers] == [resources(230, 230, 460, None)] * 2
    least = replace(two, pod_least=resources(600, 512, 1000, 512))
    held = size(least, RULES).containers
    assert [each.proposed for each in held] == [resources(300, 256, 500, None)] * 2
    assert (
        held[0]
        .reasons[0]
        .startswith(
            "CPU request 1 -> 300m: a LimitRange of its namespace wants no less of a pod (else CPU request"
        )
    )
    # What an init container sets counts, and so does what is not measured.
    beside = replace(least, init={"migrate": resources(600, 512, 1000)})
    assert size(beside, RULES).containers[0].proposed == resources(230, 230, 460, None)
    beside = replace(least, containers=(one, replace(one, usage=None, name="second")))
    assert only(size(beside, RULES)).proposed == resources(230, 230, 460, None)
    assert size(replace(two, pod_least=resources(2000, 2048)), RULES).skipped == (
        "less would not be admitted: a LimitRange of its namespace wants no less of a pod"
    )
    guaranteed = observed(resources(1000, 1024, 1000, 1024))
    guaranteed = replace(guaranteed, pod_least=resources(400, 512, 400, 512))
    assert only(size(guaranteed, RULES)).proposed == resources(400, 512, 400, 512)


def test_the_limits_of_a_pod_are_no_further_above_its_requests_than_limit_ranges_want() -> None:
    (one,) = observed(resources(1000, 1024, None, 2048)).containers
    two = observed(one.current)
    two = replace(two, containers=(one, replace(one, name="second")), pod_ratios={"memory": 4.0})
    assert [each.proposed for each in size(two, RULES).containers] == [resources(230, 512, None, 2048)] * 2
    # Another's limit rests on what both request.
    full = replace(one, current=resources(1000, 1024, 1000, 1024))
    other = replace(one, name="other", current=resources(100, 1024, 2000, 1024), usage=None)
    beside = replace(two, containers=(full, other), pod_ratios={"cpu": 3000 / 1100})
    assert only(size(beside, RULES)).proposed == resources(1000, 230, 1000, 1024)
    # As it is, it would not be admitted.
    assert size(replace(beside, pod_ratios={"cpu": 2.0}), RULES).skipped == (
        "its new pods may not be admitted: a LimitRange of its namespace wants more CPU of a pod beside its"
        " limits"
    )


def test_what_is_not_admitted_as_it_is_is_not_made_anew() -> None:
    low = bounded(observed(resources(1000, 64), usage(peak=50)), resources(None, 128), Resources())
    assert size(low, RULES).skipped == (
        "its new pods may not be admitted: a LimitRange of its namespace wants more memory of app"
    )


def test_what_one_gives_back_in_a_pod_another_may_have() -> None:
    (idle,) = observed(resources(1000, 230), usage(cpu=100)).containers
    (busy,) = observed(resources(200, 230), usage(cpu=900)).containers
    pod = replace(
        observed(resources(1, 1)),
        containers=(replace(idle, name="idle"), busy),
        pod_bounds={"node": resources(1200, None)},
    )
    assert [each.proposed.cpu_request_m for each in size(pod, RULES).containers] == [115, 1040]


def test_nothing_is_changed_where_a_quota_has_no_room_for_a_new_pod() -> None:
    """Any change makes pods anew: a rollout waits for the one that is refused."""
    full = replace(observed(resources(1000, 230)), pod_bounds={"ResourceQuota": resources(None, 100)})
    assert size(full, RULES).skipped == (
        "its new pods may not be admitted: a ResourceQuota of its namespace has no room for them beside the"
        " others"
    )
    # Where they fit once they are lowered, they are.
    lowered = replace(observed(resources(1000, 1024)), pod_bounds={"ResourceQuota": resources(500, 512)})
    assert only(size(lowered, RULES)).proposed == resources(230, 230)


def test_what_is_raised_in_one_scan_shares_a_quota() -> None:
    one = observed(resources(500, 230), usage(cpu=900))
    names = ("first", "second", "third", "lowered")
    bounds = {"ResourceQuota": resources(900, None)}  # 800m for each one's two pods
    first, second, third, lowered = (
        replace(one, workload=one.workload.model_copy(update={"name": name}), pod_bounds=bounds)
        for name in names
    )
    used = replace(first.containers[0], usage=usage())
    lowered = replace(lowered, containers=(used,), pod_bounds={"ResourceQuota": resources(500, None)})
    elsewhere = first.workload.model_copy(update={"namespace": "other"})
    given_ = (first, second, replace(third, workload=elsewhere), lowered)
    found = list(size_all(given_, RULES))
    cpu = [sized.containers[0].proposed.cpu_request_m for _, sized in found]
    assert cpu == [900, 500, 900, 230]
    (_, _), (seen, none), *_ = found
    assert seen.pod_bounds["ResourceQuota, shared"] == resources(500, None)
    assert none.skipped == (
        "what it needs would not be admitted: a ResourceQuota of its namespace has no room for more beside"
        " what others of it are raised by"
    )
    assert size(seen, RULES) == none


def test_a_sidecar_is_raised_beside_what_an_init_container_asks_for() -> None:
    """It may begin before that one, which is then held back beside it."""
    (one,) = observed(resources(200, 230), usage(cpu=900)).containers
    pod = replace(
        observed(resources(1, 1)),
        containers=(one, replace(one, name="proxy", sidecar=True)),
        init={"migrate": resources(2000, None)},
        pod_bounds={"node": resources(2500, None)},
    )
    assert [each.proposed.cpu_request_m for each in size(pod, RULES).containers] == [1040, 500]


def test_a_peak_that_nothing_can_have_says_nothing_after_an_oom_kill() -> None:
    used = usage(peak=200, oom_kills=1).model_copy(update={"memory_max_bytes": 2**50})
    killed = observed(resources(500, 200, None, 256), used, oom_killed=True)
    assert only(size(killed, RULES)).proposed.memory_limit_bytes == 356 * MIB


def test_what_is_raised_in_a_pod_shares_what_there_is() -> None:
    both = observed(resources(500, 200), usage(cpu=900, peak=180))
    (one,) = both.containers
    both = replace(
        both,
        containers=(one, replace(one, name="second"), replace(one, name="idle", usage=None)),
        pod_bounds={"node": resources(2000, None)},
    )
    sized = size(both, RULES)
    assert [each.proposed.cpu_request_m for each in sized.containers] == [750, 750]
    guaranteed = replace(
        observed(resources(500, 200, 500, 200), usage(cpu=900, peak=190)),
        pod_bounds={"ResourceQuota": resources(None, None, 800, 220)},
    )
    assert only(size(guaranteed, RULES)).proposed == resources(800, 220, 800, 220)


def test_a_request_is_not_raised_above_a_limit_that_could_not_be() -> None:
    killed = observed(resources(500, 256, None, 256), usage(cpu=500, peak=250, oom_kills=1), oom_killed=True)
    wanted = only(size(killed, RULES)).proposed
    assert (wanted.memory_request_bytes or 0) > 300 * MIB
    bounds = {"LimitRange": resources(None, None, None, 300)}
    container = only(size(replace(killed, pod_bounds=bounds), RULES))
    assert container.proposed.memory_limit_bytes == 300 * MIB
    assert container.proposed.memory_request_bytes == 300 * MIB
    assert ": not above its limit (else memory request" in container.reasons[2]


def test_what_a_vertical_autoscaler_sizes_is_left_alone() -> None:
    sized = size(replace(observed(resources(1000, 1024)), resized_by="Auto"), RULES)
    assert sized.skipped == (
        "a VerticalPodAutoscaler sets its requests and limits (mode Auto), whatever they are in Git"
    )
    assert sized.containers[0].proposed == sized.containers[0].current


def test_what_no_autoscaler_scales_on_is_sized_beside_it() -> None:
    given_ = observed(resources(1000, 1024, 2000, 2048), scales_on=frozenset({"cpu"}))
    container = only(size(given_, RULES))
    assert container.proposed == resources(1000, 230, 2000, 2048)
    assert container.reasons[0] == (
        "CPU request stays 1: a HorizontalPodAutoscaler scales the pods, on the utilisation of cpu (else CPU"
        " request 1 -> 230m: p95 over 5-minute windows is 200m in its one pod, plus 15%)"
    )
    assert container.reasons[1].startswith("CPU limit stays 2: a HorizontalPodAutoscaler scales the pods")
    by_memory = replace(given_, scales_on=frozenset({"memory"}))
    assert only(size(by_memory, RULES)).proposed == resources(230, 1024, 600, 2048)


@pytest.mark.parametrize("scales_on", ["memory", "unknown"])
def test_a_limit_that_kills_is_raised_beside_an_autoscaler_but_for_a_guaranteed_pods(scales_on: str) -> None:
    used, on = usage(cpu=900, peak=200, oom_kills=1), frozenset({scales_on})
    killed = observed(resources(1000, 200, None, 256), used, oom_killed=True, scales_on=on)
    container = only(size(killed, RULES))
    assert container.proposed == resources(1000, 200, None, 356)
    told = "on the utilisation of memory" if scales_on == "memory" else "or may, and nothing tells on what"
    assert told in container.reasons[2]
    both = observed(resources(1000, 256, 1000, 256), used, oom_killed=True, scales_on=on)
    skipped = size(both, RULES).skipped
    assert skipped is not None
    assert "HorizontalPodAutoscaler" in skipped
    assert skipped.endswith("; app has 1 OOM kill within 7 days")


def test_a_kind_that_is_not_sized_and_a_workload_without_pods_or_usage_are_said() -> None:
    assert reason(resources(1000, 1024), kind="ReplicaSet").startswith("kind ReplicaSet is not sized")
    nothing = replace(observed(resources(1000, 1024)), containers=())
    assert size(nothing, RULES).skipped == "no pod of it is there: its requests cannot be seen"
    unseen = replace(nothing, containers=(ObservedContainer("app", resources(1000, 1024), None),))
    assert size(unseen, RULES).skipped == (
        "no CPU and memory usage is known of its containers: none is recorded, or for less than half an hour"
    )


@pytest.mark.parametrize(
    ("days", "samples", "confidence"), [(14, 4032, 0.9333), (1, 4032, 0.5), (14, 288, 0.5)]
)
def test_confidence_grows_with_days_and_samples(days: int, samples: int, confidence: float) -> None:
    sized = size(observed(resources(1000, 1024), usage(samples=samples), history=days * 86400), RULES)
    assert sized.confidence == confidence
    assert sized.history_seconds == days * 86400


@pytest.mark.parametrize(
    ("silent", "why"),
    [
        ({}, None),
        ({"cpu": 1, "memory": 1}, None),
        ({"cpu": 2}, "too little data: app: nothing is told of its CPU for 2 days"),
        ({"memory": 3}, "too little data: app: nothing is told of its memory for 3 days"),
    ],
)
def test_nothing_is_proposed_by_what_was_used_before_measuring_ended(
    silent: dict[str, int], why: str | None
) -> None:
    days = tuple(
        Day(
            ago,
            288,
            cpu_m=(100.0,) if ago >= silent.get("cpu", 0) else (),
            memory_bytes=100 * MIB if ago >= silent.get("memory", 0) else 0,
        )
        for ago in range(14)
    )
    seen = observed(resources(1000, 1024))
    [container] = seen.containers
    sized = size(replace(seen, containers=(replace(container, days=days),)), RULES)
    assert sized.skipped == why


@pytest.mark.parametrize(
    ("containers", "qos"),
    [
        ([Resources(), Resources()], QosClass.BEST_EFFORT),
        ([resources(10, 10, 10, 10), resources(None, None, 5, 5)], QosClass.GUARANTEED),
        ([resources(10, 10, 10, 10), Resources()], QosClass.BURSTABLE),
        ([resources(10, 10, 10, 11)], QosClass.BURSTABLE),
        ([resources(10, None)], QosClass.BURSTABLE),
    ],
)
def test_the_qos_class_is_the_one_that_kubernetes_gives(containers: list[Resources], qos: QosClass) -> None:
    assert qos_class(containers) is qos


@pytest.mark.parametrize(("exact", "rounded"), [(0.2, 1), (11.5, 12), (50, 50), (51, 55), (1001, 1010)])
def test_cpu_is_rounded_up_to_steps_that_people_write(exact: float, rounded: int) -> None:
    assert round_cpu(exact) == rounded


@pytest.mark.parametrize(("exact", "rounded"), [(0.5, 1), (100.1, 101), (1024, 1024), (1025, 1040)])
def test_memory_is_rounded_up_to_mebibytes(exact: float, rounded: int) -> None:
    assert round_memory(exact * MIB) == rounded * MIB


amounts = st.integers(1, 8000)
set_or_not = st.none() | amounts


@st.composite
def valid_resources(draw: st.DrawFn) -> Resources:
    """As the API server keeps them: no request above its limit; a limit alone is the request as well."""
    cpu, memory, cpu_limit, memory_limit = (draw(set_or_not) for _ in range(4))
    cpu = cpu_limit if cpu is None else cpu
    memory = memory_limit if memory is None else memory
    if cpu is not None and cpu_limit is not None:
        cpu = min(cpu, cpu_limit)
    if memory is not None and memory_limit is not None:
        memory = min(memory, memory_limit)
    return resources(cpu, memory, cpu_limit, memory_limit)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    cpu = draw(st.floats(0, 5000))
    return usage(
        cpu,
        cpu + draw(st.floats(0, 3000)),
        draw(amounts),
        oom_kills=draw(st.integers(0, 2)),
        throttled_share=draw(st.none() | st.floats(0, 1)),
    )


@given(st.lists(st.tuples(valid_resources(), usages(), st.booleans()), min_size=1, max_size=3))
def test_whatever_was_used_a_proposal_is_safe(given_: list[tuple[Resources, Usage, bool]]) -> None:
    containers = tuple(
        ObservedContainer(f"c{index}", current, used, FORTNIGHT, killed)
        for index, (current, used, killed) in enumerate(given_)
    )
    workload = Workload(cluster="local", namespace="shop", kind="Deployment", name="checkout")
    sized = size(Observed(workload, 1, 1.0, containers), RULES)
    before = qos_class([container.current for container in containers])
    assert sized.qos is before
    if sized.skipped is not None:
        return
    assert qos_class([container.proposed for container in sized.containers]) is before
    for container in sized.containers:
        now, then, used = container.current, container.proposed, container.usage
        assert then.cpu_request_m is not None
        assert then.memory_request_bytes is not None
        assert (now.cpu_limit_m is None) == (then.cpu_limit_m is None)
        assert (now.memory_limit_bytes is None) == (then.memory_limit_bytes is None)
        assert then.cpu_limit_m is None or then.cpu_request_m <= then.cpu_limit_m
        assert then.memory_limit_bytes is None or then.memory_request_bytes <= then.memory_limit_bytes
        lowered = (
            now.memory_request_bytes is not None and then.memory_request_bytes < now.memory_request_bytes
        )
        if lowered:
            assert then.memory_request_bytes >= used.memory_max_bytes
            assert used.oom_kills == 0
        if now.memory_limit_bytes is not None and then.memory_limit_bytes is not None:
            smallest = min(now.memory_limit_bytes, used.memory_max_bytes)
            assert then.memory_limit_bytes >= smallest


ESTIMATE = Estimate(
    strategy="balanced",
    cpu_request_m=150.0,
    memory_request_bytes=500 * MIB,
    memory_raise_bytes=500 * MIB,
    memory_limit_bytes=2000 * MIB,
    why_cpu="balanced: so much CPU",
    why_memory="balanced: so much memory",
    why_raise="balanced: so much memory",
    why_limit="balanced: so much more for a limit",
    cpu_fits_m=130.0,
    memory_fits_bytes=240 * MIB,
)


def sized_by_estimate(current: Resources, used: Usage | None = None, **more: Any) -> ContainerProposal:
    one = observed(current, used)
    (container,) = one.containers
    containers = (replace(container, **{"estimate": ESTIMATE, **more}),)
    return size(replace(one, containers=containers), RULES).containers[0]


def filled(
    peaks: list[int], limit: int = 1000, cpu_limit: int | None = None, **more: Any
) -> ContainerProposal:
    """Under a limit, with these peaks (MiB) of the last days, the latest first."""
    days = tuple(Day(ago, 99, (), peak * MIB) for ago, peak in enumerate(peaks))
    used = usage(cpu=130, cpu_max=130, peak=max(peaks), **more)
    current = resources(150, 600 if cpu_limit is None else limit, cpu_limit, limit)
    most = 1200 * MIB
    near = replace(ESTIMATE, memory_request_bytes=most, memory_raise_bytes=most, memory_fits_bytes=most)
    return sized_by_estimate(current, used, days=days, estimate=near)


def test_a_limit_that_is_filled_day_by_day_without_a_kill_is_not_raised_as_cache_would_fill_any() -> None:
    week = [990] * 8
    container = filled(week)
    assert container.proposed == resources(150, 1000, None, 1000)
    told = (
        "it comes up to its limit day by day and is not killed, as with cache, which the kernel takes back"
        " and which would fill more"
    )
    assert container.reasons[2] == (
        f"memory request 600Mi -> 1000Mi: balanced: so much memory; not above the limit: {told}"
    )
    assert container.reasons[3] == f"memory limit stays 1000Mi: {told}"
    guaranteed = filled(week, cpu_limit=150)
    assert guaranteed.proposed == guaranteed.current
    # What has not been so for a week, or rises, or is killed, is raised.
    rising = [990, 985, 980, 970, 965, 960, 950, 940]
    assert filled(rising[::-1]).proposed.memory_limit_bytes == 1000 * MIB
    for short in (filled(week[:7]), filled([*week[:7], 890]), filled(rising), filled(week, oom_kills=1)):
        assert short.proposed.memory_request_bytes == round_memory(1200 * MIB)
        assert short.proposed.memory_limit_bytes == 2000 * MIB
    # Its limit was lowered within the week: what used more has no room.
    lowered = filled([*week[:7], 1100])
    assert lowered.proposed.memory_limit_bytes == 2000 * MIB


def raised_ago(days: int, peaks: list[int], **more: Any) -> ContainerProposal:
    """As `filled`, under a limit that was 500Mi up to so many days ago, and come up to."""
    history = tuple(
        Day(ago, 99, (), peak * MIB, near_limit_bytes=(500 if ago >= days else 1000) * MIB)
        for ago, peak in enumerate(peaks)
    )
    used = usage(cpu=130, cpu_max=130, peak=max(peaks), oom_kills=1)
    most = 1200 * MIB
    near = replace(ESTIMATE, memory_request_bytes=most, memory_raise_bytes=most, memory_fits_bytes=most)
    return sized_by_estimate(resources(150, 600, None, 1000), used, days=history, estimate=near, **more)


def test_a_limit_that_use_rose_with_when_it_was_raised_is_not_raised_again() -> None:
    container = raised_ago(3, [840, 850, 850, 425, 430])
    assert container.proposed == resources(150, 1000, None, 1000)
    assert container.reasons[3] == (
        "memory limit stays 1000Mi: use rose with it from 500Mi, as with a heap that is a share of its limit,"
        " or with cache, and would again"
    )
    # A share that leaves room is no less one: a request for which the limit is raised would rise with it.
    half = raised_ago(3, [500, 500, 500, 250])
    assert (half.proposed.memory_request_bytes, half.proposed.memory_limit_bytes) == (1000 * MIB, 1000 * MIB)
    assert raised_ago(9, [850] * 9 + [425, 430]).proposed.memory_limit_bytes == 1000 * MIB
    # What has not risen, or goes on rising, or was killed under this limit, depends on something else.
    for other in (
        raised_ago(3, [840, 850, 850, 800, 840]),
        raised_ago(9, [890, 880, 870, 860, 850, 840, 830, 820, 810, 425]),
        raised_ago(3, [840, 850, 850, 425, 430], oom_killed=True),
        raised_ago(3, [840, 850, 850, 425, 430], killed_limit_bytes=500 * MIB),
        raised_ago(9, [850] * 9),
    ):
        assert other.proposed.memory_limit_bytes == 2000 * MIB


def test_what_comes_up_to_its_limit_since_a_smaller_one_killed_it_is_raised() -> None:
    days = tuple(Day(ago, 99, (), 990 * MIB) for ago in range(8))
    used = usage(cpu=130, cpu_max=130, peak=990)
    current = resources(150, 600, None, 1000)
    assert sized_by_estimate(current, used, days=days).proposed.memory_limit_bytes == 1000 * MIB
    killed = sized_by_estimate(current, used, days=days, killed_limit_bytes=900 * MIB)
    assert killed.proposed.memory_limit_bytes == 2000 * MIB


def test_four_weeks_with_little_reserve_are_as_one_with_none() -> None:
    assert filled([800] * MEMORY_DAYS).proposed.memory_limit_bytes == 1000 * MIB
    for short in ([800] * (MEMORY_DAYS - 1), [740] + [800] * 20 + [740] * 10, [800] * 20 + [780] * 10):
        assert filled(short).proposed.memory_limit_bytes == 2000 * MIB


@pytest.mark.parametrize(("peak", "days"), [(990, 8), (800, MEMORY_DAYS)])
def test_what_rests_at_weekends_fills_its_limit_on_all_other_days(peak: int, days: int) -> None:
    def rests(days_off: set[int]) -> ContainerProposal:
        return filled([0 if ago % 7 in days_off else peak for ago in range(days + 1)])

    assert rests({2, 3}).proposed.memory_limit_bytes == 1000 * MIB
    assert rests({1, 2, 3}).proposed.memory_limit_bytes == 2000 * MIB


def test_a_peak_of_a_history_longer_than_the_estimators_is_no_less_safe() -> None:
    for set_ in (2048, 600):
        container = sized_by_estimate(resources(1000, set_), usage(peak=900))
        assert container.proposed.memory_request_bytes == 900 * MIB
        assert "not below the peak of 900Mi before" in container.reasons[2]
    guaranteed = resources(1000, 4096, 1000, 4096)
    container = sized_by_estimate(guaranteed, usage(peak=1900))
    assert container.proposed.memory_limit_bytes == round_memory(1900 * MIB * RULES.memory_limit_headroom)
    assert "the peak is 1900Mi" in container.reasons[2]


def test_what_use_no_longer_fits_in_is_raised_for_half_of_what_lowering_has_to_gain() -> None:
    tight = replace(ESTIMATE, cpu_fits_m=149.0, memory_fits_bytes=490 * MIB)
    assert sized_by_estimate(resources(142, 474), estimate=tight).proposed == resources(150, 500)
    assert sized_by_estimate(resources(160, 540), estimate=tight).proposed == resources(160, 540)
    assert sized_by_estimate(resources(145, 480), estimate=tight).proposed == resources(145, 480)
    # A percentile is no proof that it does not fit.
    assert sized_by_estimate(resources(215, 1000), estimate=None).proposed.cpu_request_m == 215


def test_an_estimate_takes_the_place_of_percentile_and_headroom_with_its_own_sentence() -> None:
    proposal = sized_by_estimate(resources(1000, 1024))
    assert (proposal.proposed.cpu_request_m, proposal.proposed.memory_request_bytes) == (150, 500 * MIB)
    assert "balanced: so much CPU" in proposal.reasons[0]
    assert "balanced: so much memory" in proposal.reasons[2]


def test_with_an_estimate_a_limit_is_raised_far_or_left_alone() -> None:
    assert sized_by_estimate(resources(1000, 1024, None, 1024)).proposed.memory_limit_bytes == 1024 * MIB
    few = replace(ESTIMATE, memory_limit_bytes=700 * MIB)
    raised = sized_by_estimate(resources(1000, 100, None, 210), estimate=few)
    assert raised.proposed.memory_limit_bytes == 700 * MIB
    assert raised.reasons[3] == "memory limit 210Mi -> 700Mi: balanced: so much more for a limit"


def test_a_limit_is_raised_no_further_than_twice_what_is_set_or_requested() -> None:
    by_request = sized_by_estimate(resources(1000, 100, None, 210))
    assert by_request.proposed.memory_limit_bytes == 1000 * MIB
    assert by_request.reasons[3] == (
        "memory limit 210Mi -> 1000Mi: balanced: so much more for a limit; no further than twice what is set"
        " or requested"
    )
    by_limit = sized_by_estimate(resources(1000, 300, None, 600), usage(peak=500))
    assert by_limit.proposed.memory_limit_bytes == 1200 * MIB


def test_what_is_throttled_climbs_though_its_peak_is_no_more_than_its_limit() -> None:
    at_its_limit = usage(cpu=100, cpu_max=100, throttled_share=0.6)
    stuck = replace(ESTIMATE, cpu_request_m=101.0, cpu_fits_m=100.0, cpu_throttled_m=125.0)
    burstable = sized_by_estimate(resources(100, 500, 100), at_its_limit, estimate=stuck)
    assert (burstable.proposed.cpu_request_m, burstable.proposed.cpu_limit_m) == (125, 125)
    assert burstable.reasons[0] == (
        "CPU request 100m -> 125m: balanced: so much CPU; 125m, because it is throttled in 60% of periods"
    )
    guaranteed = sized_by_estimate(resources(100, 2000, 100, 2000), at_its_limit, estimate=stuck)
    assert guaranteed.proposed == resources(125, 2000, 125, 2000)
    larger = usage(cpu=500, cpu_max=500, throttled_share=0.6)
    more = replace(stuck, cpu_request_m=501.0, cpu_fits_m=500.0, cpu_throttled_m=525.0)
    assert sized_by_estimate(resources(500, 500, 500), larger, estimate=more).proposed.cpu_request_m == 575
    free = sized_by_estimate(resources(100, 500, 100), usage(cpu=100, cpu_max=100), estimate=stuck)
    assert free.proposed.cpu_request_m == 100


def test_a_limit_is_not_lowered_below_what_an_idle_container_needs_to_start() -> None:
    idle = usage(cpu=1, cpu_max=2, peak=10)
    assert proposed(resources(1000, 1024, 1000, 1024), idle) == resources(100, 64, 100, 64)
    assert proposed(resources(500, 1024, 1000), idle) == resources(10, 32, 100)
    # What is set below it stays there.
    small = resources(20, 50, 20, 50)
    assert size(observed(small, idle), RULES).containers[0].proposed == small


def test_nothing_is_raised_to_an_estimate_while_use_fits_in_what_is_set() -> None:
    kept = sized_by_estimate(resources(130, 240))
    assert kept.proposed == resources(130, 240)
    assert kept.reasons[0] == (
        "CPU request stays 130m: 130m of use fit in it, so it is not raised to 150m (balanced: so much CPU)"
    )
    assert kept.reasons[2] == (
        "memory request stays 240Mi: 240Mi, the peak and a little more, fit in it, so it is not raised to"
        " 500Mi (balanced: so much memory)"
    )
    raised = sized_by_estimate(resources(129, 239))
    assert raised.proposed == resources(150, 500)
    assert raised.reasons[2] == (
        "memory request 239Mi -> 500Mi: balanced: so much memory; 240Mi, the peak and a little more, no"
        " longer fit in 239Mi"
    )
    # A peak above what is set tells it by itself.
    below = sized_by_estimate(resources(129, 150))
    assert below.reasons[2] == "memory request 150Mi -> 500Mi: balanced: so much memory"


def test_of_few_days_little_is_lowered_and_no_more_is_raised_than_of_many() -> None:
    few = replace(ESTIMATE, memory_raise_bytes=300 * MIB, why_raise="balanced: enough")
    lowered, between, raised, unset = (
        sized_by_estimate(resources(150, set_), estimate=few) for set_ in (1024, 400, 239, None)
    )
    assert lowered.proposed.memory_request_bytes == 500 * MIB
    assert between.proposed.memory_request_bytes == 400 * MIB
    assert between.reasons[2] == (
        "memory request stays 400Mi: it holds what use needs, and less than 500Mi is not lowered (balanced:"
        " so much memory)"
    )
    assert raised.proposed.memory_request_bytes == unset.proposed.memory_request_bytes == 300 * MIB
    assert raised.reasons[2].startswith("memory request 239Mi -> 300Mi: balanced: enough; 240Mi, the peak")
    assert unset.reasons[2] == "memory request (not set) -> 300Mi: balanced: enough"
    guaranteed = resources(1000, 200, 1000, 200)
    assert sized_by_estimate(guaranteed, estimate=few).proposed.memory_limit_bytes == 300 * MIB


def test_what_is_not_set_is_set_to_the_estimate() -> None:
    assert sized_by_estimate(resources(None, 240)).proposed == resources(150, 240)
    assert sized_by_estimate(resources(130, None)).proposed == resources(130, 500)


def test_after_an_oom_kill_or_while_throttled_what_was_used_is_no_proof_that_it_fits() -> None:
    killed, throttled = usage(oom_kills=1), usage(throttled_share=0.5)
    assert sized_by_estimate(resources(130, 300), killed).proposed == resources(130, 500)
    assert sized_by_estimate(resources(130, 300), throttled).proposed == resources(150, 300)


def test_in_a_guaranteed_pod_an_estimate_lowers_to_what_a_limit_needs_and_no_further() -> None:
    lowered = sized_by_estimate(resources(1000, 4096, 1000, 4096))
    assert lowered.proposed == resources(345, 2000, 345, 2000)  # CPU's peak: a limit must not throttle it
    assert lowered.reasons[2] == (
        "memory request 4Gi -> 2000Mi: balanced: so much more for a limit (in a Guaranteed pod it is both)"
    )


@pytest.mark.parametrize(("killed_under", "kept"), [(3900, 4096), (2000, 2400), (0, 2000)])
def test_in_a_guaranteed_pod_memory_is_not_lowered_to_where_it_was_killed(
    killed_under: int, kept: int
) -> None:
    """Though the kill be longer ago than kills keep from lowering: the limit goes with the request."""
    guaranteed = resources(1000, 4096, 1000, 4096)
    container = sized_by_estimate(guaranteed, killed_limit_bytes=killed_under * MIB)
    assert container.proposed.memory_limit_bytes == kept * MIB
    assert ("killed under a limit of" in container.reasons[2]) == bool(killed_under)
    burstable = sized_by_estimate(resources(1000, 4096, None, 4096), killed_limit_bytes=killed_under * MIB)
    assert burstable.proposed == resources(150, 500, None, 4096)


def test_in_a_guaranteed_pod_memory_that_has_its_headroom_is_not_raised() -> None:
    kept = sized_by_estimate(resources(1000, 260, 1000, 260))
    assert kept.proposed == resources(345, 260, 345, 260)
    assert kept.reasons[2] == (
        "memory request stays 260Mi: in a Guaranteed pod it is the limit too: it holds the peak of 200Mi and"
        " 30% more, and less than 2000Mi is not lowered (balanced: so much more for a limit)"
    )
    # The request that is not set is the limit.
    assert sized_by_estimate(resources(1000, None, 1000, 260)).proposed.memory_limit_bytes == 260 * MIB


def test_in_a_guaranteed_pod_an_oom_kill_raises_by_its_own_rule_whatever_a_limit_would_have() -> None:
    one = observed(resources(1000, 512, 1000, 512), usage(cpu=200, cpu_max=300, peak=200, oom_kills=1))
    (container,) = one.containers
    killed = replace(container, estimate=ESTIMATE, oom_killed=True)
    proposed = size(replace(one, containers=(killed,)), RULES).containers[0].proposed
    assert proposed.memory_request_bytes == proposed.memory_limit_bytes == round_memory(512 * 1.2 * MIB)


def test_a_limit_that_kills_is_not_told_to_be_a_fifth_more_where_it_is_the_request() -> None:
    one = observed(resources(1000, 128, None, 256), usage(cpu=200, cpu_max=300, peak=255, oom_kills=1))
    (container,) = one.containers
    tight = replace(ESTIMATE, memory_limit_bytes=500 * MIB)
    killed = replace(container, estimate=tight, oom_killed=True)
    sized = size(replace(one, containers=(killed,)), RULES).containers[0]
    assert (sized.proposed.memory_request_bytes, sized.proposed.memory_limit_bytes) == (500 * MIB, 500 * MIB)
    assert sized.reasons[3].startswith("memory limit 256Mi -> 500Mi: 1 OOM kill within 7 days")
    assert sized.reasons[3].endswith("or 100Mi if that is more; not below the request")


def test_in_a_guaranteed_pod_memory_without_headroom_is_raised_to_the_request_that_is_paid_for() -> None:
    assert sized_by_estimate(resources(1000, 250, 1000, 250)).proposed == resources(345, 500, 345, 500)


def test_after_an_oom_kill_an_estimate_lowers_nothing() -> None:
    one = observed(resources(1000, 1024), usage(cpu=200, cpu_max=300, peak=200, oom_kills=1))
    (container,) = one.containers
    one = replace(one, containers=(replace(container, estimate=ESTIMATE),))
    assert size(one, RULES).containers[0].proposed.memory_request_bytes == 1024 * MIB


def test_a_rollout_is_sized_as_a_deployment_is() -> None:
    assert proposed(resources(1000, 1024), kind="Rollout") == proposed(resources(1000, 1024))


UNTOLD = Jvm("image shop:jre21")
# With 128 MiB at least beside them: 628 MiB.
TOLD = Jvm("image shop:jre21", 400 * MIB, 100 * MIB)


def of_jvm(current: Resources, jvm: Jvm, used: Usage | None = None, **more: object) -> Sized:
    one = observed(current, used or usage(), **more)  # type: ignore[arg-type]
    (container,) = one.containers
    return size(replace(one, containers=(replace(container, jvm=jvm, estimate=ESTIMATE),)), RULES)


def test_the_memory_of_a_jvm_stays_where_nothing_tells_its_heap_and_its_cpu_is_sized_as_ever() -> None:
    container = only(of_jvm(resources(1000, 1024, None, 2048), UNTOLD))
    assert container.proposed == resources(150, 1024, None, 2048)
    assert container.reasons[2] == (
        "memory request stays 1Gi: it is a JVM (image shop:jre21), whose heap flags decide what it uses,"
        " and no metrics of its own tell how much"
    )
    assert container.reasons[3] == (
        "memory limit stays 2Gi: it is a JVM (image shop:jre21), whose heap may be a share of it"
    )
    assert only(of_jvm(resources(1000, 1024), Jvm("its metrics", 400 * MIB))).proposed == resources(150, 1024)


def test_the_cpu_limit_of_a_jvm_is_not_lowered() -> None:
    """It counts its processors by it: with one it has another collector, and one thread in each pool."""
    container = only(of_jvm(resources(1000, 1024, 2000, 2048), UNTOLD))
    assert container.proposed == resources(150, 1024, 2000, 2048)
    assert container.reasons[1] == (
        "CPU limit stays 2: a JVM (image shop:jre21) chooses its collector and its threads by it, and a limit"
        " costs nothing"
    )


def test_neither_request_nor_limit_of_a_jvm_is_raised_for_its_use() -> None:
    near = usage(peak=1000)
    assert only(of_jvm(resources(1000, 800, None, 1024), UNTOLD, near)).proposed == resources(
        150, 800, None, 1024
    )


def test_the_request_of_a_jvm_goes_down_to_what_its_heap_and_the_memory_beside_it_can_take() -> None:
    container = only(of_jvm(resources(1000, 1024, None, 2048), TOLD))
    assert container.proposed == resources(150, 628, None, 2048)
    assert container.reasons[2] == (
        "memory request 1Gi -> 628Mi: a JVM (image shop:jre21) with a heap of at most 400Mi, 100Mi of classes"
        " and code, and 128Mi for threads, buffers and the collector"
    )
    large = Jvm("its metrics", 4000 * MIB, 200 * MIB)
    assert only(of_jvm(resources(1000, 8192), large)).proposed == resources(150, 5008)


def test_the_request_of_a_jvm_never_goes_below_its_peak_with_the_headroom() -> None:
    container = only(of_jvm(resources(1000, 2048), TOLD, usage(peak=800)))
    assert container.proposed == resources(150, 920)
    assert container.reasons[2].endswith("; but the peak is 800Mi in its one pod, plus 15%")
    one = observed(resources(1000, 2048))
    started = Remembered(started_memory_bytes=800 * MIB)
    of_start = replace(one.containers[0], jvm=TOLD, remembered=started)
    container = only(size(replace(one, containers=(of_start,)), RULES))
    assert container.proposed.memory_request_bytes == 1040 * MIB
    assert container.reasons[2].endswith(
        "; not lowered below 800Mi used on the day of its last start, plus 30%"
    )


def test_the_request_of_a_jvm_is_not_raised_to_its_heap_nor_lowered_by_little() -> None:
    assert "628Mi (a JVM" in only(of_jvm(resources(1000, 500), TOLD)).reasons[2]
    assert only(of_jvm(resources(1000, 500), TOLD)).proposed == resources(150, 500)
    little = only(of_jvm(resources(1000, 640), TOLD))
    assert little.proposed == resources(150, 640)
    assert little.reasons[2].endswith("is not worth a change")


def test_a_heap_by_annotation_is_advice_as_metrics_are_with_as_much_for_classes_as_the_overhead() -> None:
    annotated = Jvm("its annotation", 400 * MIB, heap_annotated=True)
    container = only(of_jvm(resources(1000, 1024, None, 2048), annotated))
    assert container.proposed == resources(150, 656, None, 2048)
    assert container.reasons[2] == (
        "memory request 1Gi -> 656Mi: a JVM (its annotation) with a heap of at most 400Mi (by its annotation)"
        ", 128Mi of classes and code (no metrics tell: as much as the following), and 128Mi for threads,"
        " buffers and the collector"
    )
    with_metrics = replace(annotated, non_heap_bytes=100 * MIB)
    assert only(of_jvm(resources(1000, 1024), with_metrics)).proposed == resources(150, 628)
    # And no more than that: the peak, kills and a Guaranteed pod's limit are in the way as ever.
    assert only(of_jvm(resources(1000, 1024), annotated, usage(peak=800))).proposed == resources(150, 920)
    short = resources(200, 1024, 200, 1024)
    assert only(of_jvm(short, annotated)).proposed.memory_request_bytes == 1024 * MIB


def test_what_was_not_understood_of_an_annotation_is_said_with_the_value_that_it_left() -> None:
    wrong = "annotation kubefinops.io/jvm-max-heap: '512mb' is no size of a heap, such as 512Mi"
    misread = replace(UNTOLD, wrong=wrong)
    container = only(of_jvm(resources(1000, 1024), misread))
    assert container.proposed == resources(150, 1024)
    assert container.reasons[2].endswith(f"no metrics of its own tell how much; {wrong}")
    skipped = of_jvm(resources(150, 1024), misread).skipped
    assert skipped is not None
    assert skipped.endswith(f"whose heap flags decide; {wrong}")


def test_the_floor_holds_for_a_jvm_too() -> None:
    one = observed(resources(1000, 2048))
    (container,) = one.containers
    one = replace(one, containers=(replace(container, jvm=TOLD),))
    sized = size(one, replace(RULES, memory_floor_bytes=1024 * MIB))
    assert only(sized).proposed.memory_request_bytes == 1024 * MIB


def test_in_a_guaranteed_pod_a_jvm_keeps_its_limit_and_with_it_its_request() -> None:
    """Of CPU and of memory, but where use needs more."""
    assert (of_jvm(resources(1000, 1024, 1000, 1024), TOLD).skipped or "").endswith(
        "; memory of app aside, a JVM's, whose heap flags decide; CPU of app aside, by whose limit a JVM"
        " chooses its collector"
    )
    container = only(of_jvm(resources(200, 1024, 200, 1024), TOLD))
    assert container.proposed == resources(345, 1024, 345, 1024)
    assert "a heap that is a share of the limit" in container.reasons[2]


def test_a_jvm_without_a_memory_request_is_given_none() -> None:
    container = only(of_jvm(resources(1000, None), TOLD))
    assert container.proposed == resources(150, None)
    assert container.reasons[2].startswith("no memory request is set, and none is introduced: it is a JVM")


@pytest.mark.parametrize(("limit", "cpu_limit"), [(1024, None), (1024, 1000)])
def test_a_limit_that_kills_a_jvm_is_raised_at_once(limit: int, cpu_limit: int | None) -> None:
    used = usage(peak=200, oom_kills=1)
    current = resources(1000, limit, cpu_limit, limit)
    raised = only(of_jvm(current, UNTOLD, used, oom_killed=True)).proposed
    expected = round_memory(limit * 1.2 * MIB)
    assert (raised.memory_request_bytes, raised.memory_limit_bytes) == (expected, expected)


def test_after_a_kill_a_jvm_is_not_lowered_to_its_heap() -> None:
    container = only(of_jvm(resources(1000, 1024), TOLD, usage(oom_kills=2)))
    assert container.proposed == resources(150, 1024)
    assert container.reasons[2].endswith("with 2 OOM kills within 7 days")


def test_a_run_of_a_jvm_is_judged_alike() -> None:
    used = usage(pods=5)
    assert only(of_jvm(resources(1000, 1024), UNTOLD, used, kind="Job")).proposed == resources(345, 1024)
    assert only(of_jvm(resources(1000, 1024), TOLD, used, kind="Job")).proposed == resources(345, 628)


def test_where_a_jvms_memory_is_all_there_is_to_change_the_reason_says_so() -> None:
    skipped = of_jvm(resources(150, 4096), UNTOLD).skipped
    assert skipped is not None
    assert skipped.startswith("not worth a change: ")
    assert skipped.endswith("; memory of app aside, a JVM's, whose heap flags decide")


heaps = st.none() | st.integers(1, 8000).map(lambda size: size * MIB)


@given(valid_resources(), usages(), st.booleans(), st.builds(Jvm, st.just("its metrics"), heaps, heaps))
def test_whatever_a_jvm_used_a_proposal_is_safe(
    current: Resources, used: Usage, killed: bool, jvm: Jvm
) -> None:
    one = observed(current, used, oom_killed=killed)
    sized = size(replace(one, containers=(replace(one.containers[0], jvm=jvm),)), RULES)
    if sized.skipped is not None:
        return
    then = only(sized).proposed
    assert qos_class([then]) is qos_class([current])
    request, limit = then.memory_request_bytes, then.memory_limit_bytes
    assert (current.memory_limit_bytes is None) == (limit is None)
    if limit is not None and current.memory_limit_bytes is not None:
        assert limit >= current.memory_limit_bytes
        assert limit == current.memory_limit_bytes or (killed and used.oom_kills)
        assert request is None or request <= limit
    if request != current.memory_request_bytes:
        assert request is not None
        if request > (current.memory_request_bytes or 0):
            assert killed
            assert used.oom_kills
        else:
            assert not used.oom_kills
            assert request >= used.memory_max_bytes * RULES.memory_headroom
            assert jvm.heap_max_bytes is not None
            assert request > jvm.heap_max_bytes


@pytest.mark.parametrize(
    ("peaks", "told"),
    [
        ((250, 240, 228, 215, 205, 200), " 6 days rose each day, by 25% in all"),
        ((250, 240, 228, 215, 205, 205, 205), " 5 days rose each day, by 22% in all"),
        ((250, 240, 228, 215, 220, 215), ""),  # it fell between
        ((250, 249, 248, 247, 246, 245), ""),  # by so little it may be chance
    ],
)
def test_where_memory_is_raised_that_rose_day_by_day_it_is_said_that_it_may_leak(
    peaks: tuple[int, ...], told: str
) -> None:
    days = tuple(Day(ago, 99, (), peak * MIB) for ago, peak in enumerate(peaks, 1))
    short, roomy = (observed(resources(200, memory), usage(peak=250)) for memory in (240, 1024))
    for each, is_raised in ((short, True), (roomy, False)):
        container = replace(each.containers[0], days=(Day(0, 9, (), 251 * MIB), *days))
        sized = only(size(replace(each, containers=(container,)), RULES))
        (memory,) = [each for each in sized.reasons if each.startswith("memory request")]
        assert ("leak" in memory) == bool(is_raised and told), memory
        assert not is_raised or told in memory, memory
