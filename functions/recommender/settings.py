"""What the recommender, and `kubefinops scan`, read from their environment."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from functions.recommender.price_file import PriceFile, read_prices
from functions.recommender.rules import Rules, Strategy
from shared.contracts.providers import ON_DEMAND, SPOT, Provider
from shared.contracts.quantities import format_cpu, format_memory, parse_cpu, parse_memory
from shared.runtime.settings import (
    KafkaSettings,
    MongoSettings,
    ObjectStoreSettings,
    PrometheusSettings,
    Written,
)

if TYPE_CHECKING:
    from functions.recommender.prices import PriceList


def _cpu(value: object) -> object:
    return parse_cpu(value) if isinstance(value, str) else value


def _memory(value: object) -> object:
    return parse_memory(value) if isinstance(value, str) else value


def _prices(value: object) -> object:
    return read_prices(value) if isinstance(value, str) else value


def _label(value: str) -> str:
    if value and not re.fullmatch(_LABEL, value):
        raise ValueError(f"{value!r} is not a label's name as example.com/price")
    return value


def _provider(given: dict[str, Any]) -> Provider:
    """What was given before; where that was wrong, it is told of by itself."""
    provider: Provider = given.get("provider", "unknown")
    return provider


# People write `10m` and `32Mi`.
Cpu = Annotated[int, BeforeValidator(_cpu), Field(ge=0), Written(format_cpu)]
Memory = Annotated[int, BeforeValidator(_memory), Field(ge=0), Written(format_memory)]
Percent = Annotated[float, Field(ge=0, le=1000)]
_DEFAULT = Rules()
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"


class SizingSettings(PrometheusSettings):
    """How proposals are made; percentages are of the value that is set or measured."""

    strategy: Strategy = Field(
        "percentile",
        alias="KUBEFINOPS_STRATEGY",
        description="how requests are found: percentile (p95 and peak, plus the headrooms), or balanced,"
        " cautious or lean, the estimator's measured trade-offs (docs/accuracy.md)",
    )

    minimum_history_hours: float = Field(
        _DEFAULT.minimum_history_hours,
        alias="KUBEFINOPS_MINIMUM_HISTORY_HOURS",
        ge=0,
        le=90 * 24,  # as long as KUBEFINOPS_HISTORY_DAYS can be
        description="hours of history without which nothing is proposed",
    )
    minimum_samples: int = Field(
        _DEFAULT.minimum_samples,
        alias="KUBEFINOPS_MINIMUM_SAMPLES",
        ge=1,
        description="5-minute samples without which nothing is proposed",
    )
    cpu_headroom: Percent = Field(
        15,
        alias="KUBEFINOPS_CPU_HEADROOM_PERCENT",
        description="percent of headroom of a CPU request, above the p95",
    )
    memory_headroom: Percent = Field(
        15,
        alias="KUBEFINOPS_MEMORY_HEADROOM_PERCENT",
        description="percent of headroom of a memory request, above the peak",
    )
    memory_limit_headroom: Percent = Field(
        30,
        alias="KUBEFINOPS_MEMORY_LIMIT_HEADROOM_PERCENT",
        description="percent of headroom of a memory limit, above the peak",
    )
    cpu_floor: Cpu = Field(
        _DEFAULT.cpu_floor_m,
        alias="KUBEFINOPS_CPU_FLOOR",
        description="no CPU request is lowered below it (10m, or cores: 0.01)",
    )
    memory_floor: Memory = Field(
        _DEFAULT.memory_floor_bytes,
        alias="KUBEFINOPS_MEMORY_FLOOR",
        description="no memory request is lowered below it (32Mi, or bytes)",
    )
    minimum_change: Percent = Field(
        10,
        alias="KUBEFINOPS_MINIMUM_CHANGE_PERCENT",
        description="percent of what is set; a smaller difference is not proposed",
    )
    minimum_cpu_change: Cpu = Field(
        _DEFAULT.cpu_change_m,
        alias="KUBEFINOPS_MINIMUM_CPU_CHANGE",
        description="a smaller difference of CPU is not proposed, whatever its share (10m, or cores)",
    )
    minimum_memory_change: Memory = Field(
        _DEFAULT.memory_change_bytes,
        alias="KUBEFINOPS_MINIMUM_MEMORY_CHANGE",
        description="a smaller difference of memory is not proposed, whatever its share (16Mi, or bytes)",
    )
    oom_days: int = Field(
        _DEFAULT.oom_days,
        alias="KUBEFINOPS_OOM_DAYS",
        ge=1,
        le=90,
        description="days after an OOM kill in which memory is not lowered",
    )
    keep_qos: bool = Field(
        _DEFAULT.keep_qos,
        alias="KUBEFINOPS_KEEP_QOS",
        description="propose nothing that changes a pod's QoS class",
    )
    provider: Provider = Field(
        "unknown",
        alias="KUBEFINOPS_PRICE_PROVIDER",
        description="whose default prices to take: aws, gcp, azure, oracle or unknown (docs/money.md)",
    )
    core_hour: Annotated[Decimal, Field(ge=0, lt=1_000_000)] = Field(
        default_factory=lambda given: ON_DEMAND[_provider(given)].core_hour,
        alias="KUBEFINOPS_PRICE_CORE_HOUR",
        description="price of a core for an hour, on spot nodes too; by default the provider's",
    )
    gib_hour: Annotated[Decimal, Field(ge=0, lt=1_000_000)] = Field(
        default_factory=lambda given: ON_DEMAND[_provider(given)].gib_hour,
        alias="KUBEFINOPS_PRICE_GIB_HOUR",
        description="price of a GiB of memory for an hour, on spot nodes too; by default the provider's",
    )
    price_node_label: Annotated[str, AfterValidator(_label)] = Field(
        "",
        alias="KUBEFINOPS_PRICE_NODE_LABEL",
        description="label of nodes whose value is the node's price for an hour, such as example.com/price",
    )
    price_file: Annotated[PriceFile, BeforeValidator(_prices)] = Field(
        PriceFile(),
        alias="KUBEFINOPS_PRICES_FILE",
        description="CSV file with prices of nodes, in OpenCost's format (docs/money.md)",
    )
    currency: str = Field(
        "USD", alias="KUBEFINOPS_CURRENCY", pattern=r"^[A-Z]{3}$", description="currency of the prices"
    )

    @property
    def window(self) -> timedelta:
        return timedelta(days=self.history)

    @property
    def rules(self) -> Rules:
        return Rules(
            minimum_history_hours=self.minimum_history_hours,
            minimum_samples=self.minimum_samples,
            cpu_headroom=1 + self.cpu_headroom / 100,
            memory_headroom=1 + self.memory_headroom / 100,
            memory_limit_headroom=1 + max(self.memory_limit_headroom, self.memory_headroom) / 100,
            cpu_floor_m=self.cpu_floor,
            memory_floor_bytes=self.memory_floor,
            relative_change=self.minimum_change / 100,
            cpu_change_m=self.minimum_cpu_change,
            memory_change_bytes=self.minimum_memory_change,
            oom_days=self.oom_days,
            keep_qos=self.keep_qos,
        )

    @property
    def price_list(self) -> PriceList:
        from functions.recommender.prices import PriceList
        from shared.contracts.pricing import rates

        given = [
            name
            for field, name in (
                ("core_hour", "KUBEFINOPS_PRICE_CORE_HOUR"),
                ("gib_hour", "KUBEFINOPS_PRICE_GIB_HOUR"),
            )
            if field in self.model_fields_set
        ]
        whose = "an unknown provider" if self.provider == "unknown" else self.provider
        default = f"OpenCost's default for {whose}"
        source = f"{given[0]}, else {default}" if len(given) == 1 else " and ".join(given) or default
        spot = None if given else SPOT.get(self.provider)
        return PriceList(
            base=rates(self.core_hour, self.gib_hour, self.currency, source),
            spot=None
            if spot is None
            else rates(spot.core_hour, spot.gib_hour, self.currency, f"{default}, spot"),
            node_label=self.price_node_label,
            file=self.price_file,
        )

    @property
    def price_sources(self) -> dict[str, str]:
        """What a report says of them; the prices themselves are beside it, node by node."""
        return {
            "price_provider": self.provider,
            "price_node_label": self.price_node_label,
            "prices_file": str(self.price_file),
        }


class RecommenderSettings(KafkaSettings, MongoSettings, ObjectStoreSettings, SizingSettings):
    """What recommender reads from its environment."""
