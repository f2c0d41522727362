"""The Job and CronJob controllers, and the part of cron's language that CronJobs are written in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from infra.standins.cluster.kinds import BY_NAME, ApiError, Object
from infra.standins.cluster.names import rfc3339, unix

if TYPE_CHECKING:
    from infra.standins.cluster.cluster import Cluster

JOB_SECONDS = 240.0  # how long the pod of every Job runs
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MINUTE, _DAY = 60.0, 86400.0


class Jobs:
    """Runs each Job's pod once, and starts the Jobs of CronJobs when they are due."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._looked: dict[str, float] = {}

    def reconcile(self, job: Object) -> bool:
        cluster, metadata = self._cluster, job["metadata"]
        pods = cluster.owned(metadata["uid"])
        if not pods and not job.get("status", {}).get("succeeded"):
            try:
                pods = [cluster.make_pod(cluster.template_for(job, 0, ""))]
            except ApiError:
                return False  # only events tell
        if not pods:
            return True
        pod = pods[0]
        if pod.finished(cluster.now):
            assert pod.finishes is not None
            ended = rfc3339(pod.finishes)
            done = {"type": "Complete", "status": "True", "lastTransitionTime": ended}
            status = {"startTime": rfc3339(pod.created), "completionTime": ended, "succeeded": 1}
            cluster.set_status(job, {**status, "conditions": [done]})
        else:
            cluster.set_status(job, {"startTime": rfc3339(pod.created), "active": 1})
        return True

    def due(self, cron_job: Object) -> None:
        """Starts what is due since the last look, and removes what is beyond the history's limit."""
        cluster, metadata, spec = self._cluster, cron_job["metadata"], cron_job["spec"]
        since = self._looked.get(metadata["uid"], cluster.now)
        self._looked[metadata["uid"]] = cluster.now
        if spec["suspend"]:
            return
        for t in occurrences(spec["schedule"], since, cluster.now):
            self.start(cron_job, t)
        mine = [
            job
            for job in cluster.objects("Job", metadata["namespace"])
            if any(owner["uid"] == metadata["uid"] for owner in job["metadata"].get("ownerReferences", []))
        ]
        done = sorted(
            (job for job in mine if job.get("status", {}).get("succeeded")),
            key=lambda job: str(job["metadata"]["creationTimestamp"]),
        )
        for job in done[: max(0, len(done) - spec["successfulJobsHistoryLimit"])]:
            cluster.delete(BY_NAME["batch/v1", "Job"], metadata["namespace"], job["metadata"]["name"])

    def begin(self, cron_job: Object) -> None:
        """Starts the Jobs of the past that the history's limit still keeps."""
        times = list(self.past(cron_job))
        for t in times[max(0, len(times) - cron_job["spec"]["successfulJobsHistoryLimit"]) :]:
            self.start(cron_job, t)

    def past(self, cron_job: Object) -> Iterator[float]:
        """When the CronJob ran, from when it was made until now."""
        if cron_job["spec"]["suspend"]:
            return iter(())
        since = unix(cron_job["metadata"]["creationTimestamp"])
        return occurrences(cron_job["spec"]["schedule"], since, self._cluster.now)

    def start(self, cron_job: Object, t: float) -> None:
        """Creates the Job of the schedule's time `t` (Unix seconds)."""
        metadata = cron_job["metadata"]
        template = cron_job["spec"]["jobTemplate"]
        name = job_name(cron_job, t)
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                **(template.get("metadata") or {}),
                "name": name,
                "namespace": metadata["namespace"],
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "CronJob",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": template["spec"],
        }
        kind = BY_NAME["batch/v1", "Job"]
        self._cluster.apply(kind, metadata["namespace"], name, body, "cronjob-controller", created=t)
        self._cluster.set_status(cron_job, {"lastScheduleTime": rfc3339(t)})

    def next_due(self, cron_job: Object, until: float) -> float | None:
        """The next time up to `until` that the schedule names."""
        if cron_job["spec"]["suspend"]:
            return None
        return next(occurrences(cron_job["spec"]["schedule"], self._cluster.now, until), None)


def job_name(cron_job: Object, t: float) -> str:
    """As the controller names the Job of the schedule's time `t` (Unix seconds): by minutes."""
    return f"{cron_job['metadata']['name']}-{int(t // _MINUTE)}"


def occurrences(schedule: str, after: float, until: float) -> Iterator[float]:
    """The times (Unix seconds, UTC) that a cron schedule names after `after` and up to `until`.

    Raises:
        ValueError: it is none of `*`, `*/n`, `a`, `a-b`, `a-b/n` and lists of these in five fields.
    """
    minutes, hours, days, months, weekdays = parse_schedule(schedule)
    t = (after // _MINUTE + 1) * _MINUTE
    while t <= until:
        at = datetime.fromtimestamp(t, UTC)
        if at.month not in months or at.day not in days or at.isoweekday() % 7 not in weekdays:
            t = (t // _DAY + 1) * _DAY
            continue
        if at.hour in hours and at.minute in minutes:
            yield t
        t += _MINUTE


def parse_schedule(schedule: str) -> list[set[int]]:
    """The values of minute, hour, day, month and weekday (0 is Sunday). Raises ValueError."""
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"{schedule!r} has {len(parts)} fields, a cron schedule has five")
    fields = [_values(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    fields[4] = {day % 7 for day in fields[4]}
    return fields


def _values(part: str, field: str, least: int, most: int) -> set[int]:
    values: set[int] = set()
    for item in part.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        try:
            low = least if span == "*" else int(first)
            high = most if span == "*" or (step and not last) else int(last or first)
            found = range(low, high + 1, int(step or 1))
        except ValueError:
            found = range(0)
        if not found or found[0] < least or found[-1] > most:
            raise ValueError(f"{field} {item!r} is nothing that cron knows (from {least} to {most})")
        values |= set(found)
    return values
