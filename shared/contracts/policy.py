"""Policies as they are stored: immutable versions, of which one is active for each name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.contracts.money import Money
from shared.contracts.quantities import parse_cpu, parse_memory


def _cpu(value: object) -> object:
    return parse_cpu(value) if isinstance(value, str) else value


def _memory(value: object) -> object:
    return parse_memory(value) if isinstance(value, str) else value


# People write `10m` and `32Mi`; millicores and bytes are what is stored and compared.
Cpu = Annotated[int, BeforeValidator(_cpu), Field(ge=0)]
Memory = Annotated[int, BeforeValidator(_memory), Field(ge=0)]
Percent = Annotated[float, Field(gt=0)]


class Rules(BaseModel):
    """Every rule is optional; one that is not set does not judge."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    pause: bool = False
    protected_namespaces: tuple[str, ...] = Field(default=(), description="globs; nothing is changed there")
    max_step_down_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    max_step_up_percent: Percent | None = None
    cpu_floor: Cpu | None = None
    cpu_ceiling: Cpu | None = None
    memory_floor: Memory | None = None
    memory_ceiling: Memory | None = None
    minimum_monthly_saving: Money | None = Field(
        default=None, description="a proposal that saves less is denied, unless it raises a value"
    )
    minimum_history_hours: Annotated[float, Field(ge=0)] | None = None
    minimum_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    approval_above_monthly_saving: Money | None = Field(
        default=None, description="a larger change of cost, either way, needs a person's review"
    )


class Policy(BaseModel):
    """One version of one policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = Field(min_length=1)
    version: int = Field(ge=1)
    active: bool = True
    clusters: tuple[str, ...] = Field(default=("*",), description="globs")
    namespaces: tuple[str, ...] = Field(default=("*",), description="globs of where it applies")
    rules: Rules


# Applies where no policy is stored: small steps, a day of history, nothing in the control plane.
DEFAULT_POLICY = Policy(
    name="default",
    version=1,
    rules=Rules(
        protected_namespaces=("kube-*", "argocd", "kubefinops"),
        max_step_down_percent=50,
        max_step_up_percent=200,
        cpu_floor=10,
        memory_floor=32 * 1024 * 1024,
        minimum_history_hours=24,
        approval_above_monthly_saving=Money.model_validate({"amount": "500"}),
    ),
)


def applying(policies: Sequence[Policy], cluster: str, namespace: str) -> list[Policy]:
    """The policies that judge a workload of the namespace.

    Where none applies, the default does: a policy for one namespace takes nothing from the others.
    """
    return [
        policy
        for policy in policies
        if matches(policy.clusters, cluster) and matches(policy.namespaces, namespace)
    ] or [DEFAULT_POLICY]


def matches(globs: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
