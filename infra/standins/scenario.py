"""The scenario: what the stand-ins of a cluster and of Argo CD start from, as one JSON file.

The demo writes it, `python -m infra.standins.cluster` and `python -m infra.standins.argocd` read it. It holds
facts only: Kubernetes objects as manifests, Applications as Argo CD knows them, and for every container where
its usage comes from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ScenarioError(ValueError):
    """A scenario file that cannot be used; the message names the file, the place and what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(_Part):
    """A node of the cluster: `cpu` in cores, `memory_bytes` in bytes, both allocatable."""

    name: str
    cpu: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)
    pods: int = 110
    labels: dict[str, str] = {}


class Profile(_Part):
    """Usage that is generated from a seed: a daily and weekly rhythm, noise, bursts and a start-up peak.

    `cpu_cores` and `memory_bytes` are the means of an ordinary weekday; amplitudes are shares of the mean.
    Memory does not leak: it swings around its mean, and spikes for `memory_spike_seconds`.
    """

    cpu_cores: float = Field(ge=0)
    memory_bytes: int = Field(ge=0)
    days: float = Field(default=7.5, gt=0)
    daily: float = Field(default=0.0, ge=0, le=1)
    weekend: float = Field(default=0.0, ge=0, le=1)
    noise: float = Field(default=0.05, ge=0, le=1)
    bursts_per_day: float = Field(default=0.0, ge=0)
    burst_cores: float = Field(default=0.0, ge=0)
    burst_seconds: float = Field(default=300.0, gt=0)
    memory_swing: float = Field(default=0.02, ge=0, le=1)
    memory_spikes_per_day: float = Field(default=0.0, ge=0)
    memory_spike_bytes: int = Field(default=0, ge=0)
    memory_spike_seconds: float = Field(default=180.0, gt=0)
    startup_seconds: float = Field(default=0.0, ge=0)
    startup_cores: float = Field(default=0.0, ge=0)
    startup_memory_bytes: int = Field(default=0, ge=0)
    peak_hour: float = Field(default=14.0, ge=0, lt=24)


class Recorded(_Part):
    """Usage from a trace file (the CSV format of `infra/standins/cluster/traces.py`).

    `file` is absolute or relative to the scenario's folder; `container` is as the file has it (empty there =
    the pod's sum). `memory_bytes` stands in where the file records no memory at all.
    """

    file: str
    workload: str
    container: str = ""
    memory_bytes: int | None = Field(default=None, ge=0)


class Usage(_Part):
    """Where one container's usage comes from: exactly one of `profile` and `recorded`.

    `created` (Unix seconds) is when the workload was first deployed; nothing is shown from before it.
    `redeployed` lists times at which its pods were replaced in the past.
    """

    namespace: str
    kind: str
    name: str
    container: str
    profile: Profile | None = None
    recorded: Recorded | None = None
    created: float | None = None
    redeployed: list[float] = []

    @model_validator(mode="after")
    def _one_source(self) -> Usage:
        if (self.profile is None) == (self.recorded is None):
            raise ValueError("exactly one of profile and recorded is needed")
        return self


class Scenario(_Part):
    """Everything the stand-ins start from.

    `now` (Unix seconds) is where the history ends and live time begins. `objects` are what the cluster runs
    at `now`: plain Kubernetes manifests, in any order. `applications` are Argo CD Application objects
    (`argoproj.io/v1alpha1`) as `kubectl get -o json` would print them, without status.
    """

    cluster: str = "local"
    now: float
    seed: int = 0
    startup_seconds: float = Field(default=1.0, ge=0)
    nodes: list[Node] = Field(min_length=1)
    objects: list[dict[str, Any]] = []
    applications: list[dict[str, Any]] = []
    usage: list[Usage] = []


def load(path: Path) -> Scenario:
    """Reads a scenario file; file names in it become absolute. Raises `ScenarioError` in one line."""
    try:
        scenario = Scenario.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ScenarioError(f"scenario {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise ScenarioError(f"scenario {path}: {place}: {first['msg']}") from error

    def at_home(use: Usage) -> Usage:
        if use.recorded is None:
            return use
        file = str(path.parent / use.recorded.file)
        return use.model_copy(update={"recorded": use.recorded.model_copy(update={"file": file})})

    return scenario.model_copy(update={"usage": [at_home(use) for use in scenario.usage]})


def dump(scenario: Scenario, path: Path) -> None:
    """Writes a scenario file, sorted and indented, so that the same scenario is the same bytes."""
    document = scenario.model_dump(mode="json", exclude_defaults=True)
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
