"""When a merged change is live, and when it has failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.argocd.correlating import Operation, Rollout, differences, failure_of
from shared.contracts.events import FailureReason
from tests.examples import MIB, container, resources

COMMIT = "c" * 40
HOUR = timedelta(hours=1)
LIVE = Rollout(synced=COMMIT, operation=Operation("Succeeded", "", COMMIT), health="Healthy")


def with_operation(rollout: Rollout, phase: str, revision: str | None = COMMIT) -> Rollout:
    return replace(rollout, operation=Operation(phase, "said so", revision))


def test_a_change_is_live_when_synced_succeeded_healthy_and_as_proposed() -> None:
    assert LIVE.live
    assert LIVE.revision == COMMIT


@pytest.mark.parametrize(
    "rollout",
    [
        replace(LIVE, health="Progressing"),
        replace(LIVE, health="Missing"),
        replace(LIVE, differences=("app: cpu_request_m is 500, not 150",)),
        with_operation(LIVE, "Running"),
        with_operation(LIVE, "Failed"),
        with_operation(replace(LIVE, synced=None), "Succeeded", revision=None),
    ],
)
def test_a_change_that_lacks_one_of_them_is_not_live(rollout: Rollout) -> None:
    assert not rollout.live


def test_an_application_that_is_out_of_sync_elsewhere_does_not_keep_a_change_from_being_live() -> None:
    assert replace(LIVE, synced=None).live


def test_a_change_that_left_nothing_to_apply_is_live_without_an_operation_of_its_own() -> None:
    assert with_operation(LIVE, "Succeeded", revision=None).live
    assert replace(LIVE, operation=None).live


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_a_failed_sync_of_a_revision_with_the_change_is_its_failure(phase: str) -> None:
    failure = failure_of(with_operation(replace(LIVE, synced=None), phase), timedelta(0), HOUR)
    assert failure is not None
    assert failure.reason is FailureReason.SYNC_FAILED
    assert "said so" in failure.message


def test_a_failed_sync_of_an_earlier_revision_is_not_its_failure() -> None:
    rollout = with_operation(replace(LIVE, synced=None), "Failed", revision=None)
    assert failure_of(rollout, timedelta(0), HOUR) is None


def test_a_sync_that_will_be_tried_again_is_no_failure_yet() -> None:
    assert failure_of(with_operation(replace(LIVE, synced=None), "Running"), timedelta(0), HOUR) is None


def test_a_degraded_workload_after_the_sync_is_a_failure_and_before_it_is_not() -> None:
    degraded = replace(LIVE, health="Degraded", health_message="exceeded its progress deadline")
    failure = failure_of(degraded, timedelta(0), HOUR)
    assert failure is not None
    assert (failure.reason, failure.message) == (FailureReason.DEGRADED, "exceeded its progress deadline")
    before = replace(degraded, synced=None, operation=Operation("Succeeded", "", None))
    assert failure_of(before, timedelta(0), HOUR) is None


@pytest.mark.parametrize(
    ("rollout", "words"),
    [
        (None, "no Application of Argo CD"),
        (replace(LIVE, synced=None, operation=None), "has not synced a revision with the change"),
        (with_operation(replace(LIVE, synced=None), "Running"), "the sync is Running: said so"),
        (replace(LIVE, health="Progressing", health_message="1 of 3"), "its health is Progressing 1 of 3"),
        (replace(LIVE, differences=("app: cpu_request_m is 500, not 150",)), "cpu_request_m is 500, not 150"),
        (
            replace(LIVE, synced=None, operation=None, conditions=("ComparisonError: no such path",)),
            "ComparisonError: no such path",
        ),
    ],
)
def test_after_the_deadline_a_change_has_failed_and_is_told_what_it_lacks(
    rollout: Rollout | None, words: str
) -> None:
    assert failure_of(rollout, HOUR - timedelta(seconds=1), HOUR) is None
    failure = failure_of(rollout, HOUR, HOUR)
    assert failure is not None
    assert failure.reason is FailureReason.DEADLINE
    assert failure.message.startswith("not live 60 minutes after the merge: ")
    assert words in failure.message


def deployed(kind: str = "Deployment", **groups: dict[str, str]) -> dict[str, Any]:
    pod = {"containers": [{"name": "app", "resources": groups}]}
    return {"kind": kind, "spec": {"template": {"spec": pod}}}


PROPOSED = container(current=resources(1000, 1024, 1024), proposed=resources(600, 640, 768))


@pytest.mark.parametrize("kind", ["Deployment", "Rollout"])
def test_what_lives_as_proposed_has_no_differences_however_it_is_written(kind: str) -> None:
    live = deployed(kind, requests={"cpu": "0.6", "memory": f"{640 * MIB}"}, limits={"memory": "768Mi"})
    assert differences([PROPOSED], live) == ()


def test_a_rollout_that_waits_in_its_canary_is_not_live_and_fails_with_that_reason_at_the_deadline() -> None:
    waiting = replace(LIVE, health="Suspended", health_message="CanaryPauseStep")
    assert not waiting.live
    assert failure_of(waiting, timedelta(0), HOUR) is None
    failure = failure_of(waiting, HOUR, HOUR)
    assert failure is not None
    assert failure.message.endswith("its health is Suspended CanaryPauseStep")


def test_each_difference_is_named_with_its_container_and_both_values() -> None:
    live = deployed(requests={"cpu": "1", "memory": "640Mi"})
    assert differences([PROPOSED], live) == (
        "app: cpu_request_m is 1000, not 600",
        f"app: memory_limit_bytes is unset, not {768 * MIB}",
    )


def test_a_value_that_shall_go_must_be_gone_and_one_that_never_was_there_does_not_count() -> None:
    dropping = container(current=resources(600, 640, 1024), proposed=resources(600, 640))
    requests = {"cpu": "600m", "memory": "640Mi"}
    assert differences([dropping], deployed(requests=requests)) == ()
    still = deployed(requests=requests, limits={"memory": "1Gi", "cpu": "2"})
    assert differences([dropping], still) == (f"app: memory_limit_bytes is {1024 * MIB}, not unset",)


def test_a_missing_workload_or_container_is_a_difference() -> None:
    assert differences([PROPOSED], None) == ("the workload does not live",)
    assert differences([container("other")], deployed()) == ("container other does not live",)


def test_the_containers_of_a_cron_job_and_native_sidecars_are_found() -> None:
    asked = {"requests": {"cpu": "600m", "memory": "640Mi"}, "limits": {"memory": "768Mi"}}
    pod = {"initContainers": [{"name": "proxy", "resources": asked}], "containers": []}
    job = {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}
    assert differences([container("proxy", PROPOSED.current, PROPOSED.proposed)], job) == ()
