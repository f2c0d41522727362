"""What the recommender, and `kubefinops scan`, read from their environment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from functions.recommender.price_file import PriceFile, read_prices
from functions.recommender.rules import Rules, Strategy
from shared.contracts.providers import ON_DEMAND, SPOT, Provider
from shared.contracts.quantities import format_cpu, format_memory, parse_cpu, parse_memory
from shared.runtime.settings import (
    KafkaSettings,
    MongoSettings,
    ObjectStoreSettings,
    PrometheusSettings,
    boolean,
    matching,
    number,
    one_of,
    setting,
    whole,
)

if TYPE_CHECKING:
    from functions.recommender.prices import PriceList

PRICES = ("KUBEFINOPS_PRICE_CORE_HOUR", "KUBEFINOPS_PRICE_GIB_HOUR")
_DEFAULT = Rules()
_percent = number(float, 0, 1000)
_price = number(Decimal, 0, 1_000_000)
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"


@dataclass(frozen=True, kw_only=True)
class SizingSettings(PrometheusSettings):
    """How proposals are made; percentages are of the value that is set or measured."""

    strategy: Strategy = setting(
        "KUBEFINOPS_STRATEGY",
        one_of(Strategy),
        "balanced",
        "how requests are found: balanced, cautious or lean, the estimator's measured trade-offs"
        " (docs/accuracy.md), or percentile (p95 and peak, plus the headrooms)",
    )

    minimum_history_hours: float = setting(
        "KUBEFINOPS_MINIMUM_HISTORY_HOURS",
        number(float, 0, 90 * 24),  # as long as KUBEFINOPS_HISTORY_DAYS can be
        _DEFAULT.minimum_history_hours,
        "hours of a container's history without which it stays as it is, OOM kills aside",
    )
    minimum_samples: int = setting(
        "KUBEFINOPS_MINIMUM_SAMPLES",
        number(whole, 1),
        _DEFAULT.minimum_samples,
        "windows of 5 minutes without which a container stays as it is; of CPU 99, 50 or 33 a day are seen",
    )
    cpu_headroom: float = setting(
        "KUBEFINOPS_CPU_HEADROOM_PERCENT",
        _percent,
        15.0,
        "percent of headroom of a CPU request: above the p95 by percentile; by the other strategies above the"
        " peak of Jobs and Guaranteed pods, and where it is throttled",
    )
    memory_headroom: float = setting(
        "KUBEFINOPS_MEMORY_HEADROOM_PERCENT",
        _percent,
        15.0,
        "percent of headroom of a memory request above the peak: by percentile, and of Jobs and JVMs by any"
        " strategy; the others measure theirs",
    )
    memory_limit_headroom: float = setting(
        "KUBEFINOPS_MEMORY_LIMIT_HEADROOM_PERCENT",
        _percent,
        30.0,
        "percent of headroom of a memory limit, above the peak",
    )
    cpu_floor: int = setting(
        "KUBEFINOPS_CPU_FLOOR",
        parse_cpu,
        _DEFAULT.cpu_floor_m,
        "no CPU request is lowered below it (10m, or cores: 0.01)",
        format_cpu,
    )
    memory_floor: int = setting(
        "KUBEFINOPS_MEMORY_FLOOR",
        parse_memory,
        _DEFAULT.memory_floor_bytes,
        "no memory request is lowered below it (32Mi, or bytes)",
        format_memory,
    )
    minimum_change: float = setting(
        "KUBEFINOPS_MINIMUM_CHANGE_PERCENT",
        _percent,
        10.0,
        "percent of what is set; a smaller change is not proposed (half of all 3, where a strategy raises)",
    )
    minimum_cpu_change: int = setting(
        "KUBEFINOPS_MINIMUM_CPU_CHANGE",
        parse_cpu,
        _DEFAULT.cpu_change_m,
        "a smaller difference of CPU is not proposed, whatever its share (10m, or cores)",
        format_cpu,
    )
    minimum_memory_change: int = setting(
        "KUBEFINOPS_MINIMUM_MEMORY_CHANGE",
        parse_memory,
        _DEFAULT.memory_change_bytes,
        "a smaller difference of memory is not proposed, whatever its share (16Mi, or bytes)",
        format_memory,
    )
    oom_days: int = setting(
        "KUBEFINOPS_OOM_DAYS",
        number(whole, 1, 90),
        _DEFAULT.oom_days,
        "days after an OOM kill in which memory is not lowered",
    )
    keep_qos: bool = setting(
        "KUBEFINOPS_KEEP_QOS",
        boolean,
        _DEFAULT.keep_qos,
        "propose nothing that changes a pod's QoS class",
    )
    provider: Provider = setting(
        "KUBEFINOPS_PRICE_PROVIDER",
        one_of(Provider),
        "unknown",
        "whose default prices to take: aws, gcp, azure, oracle or unknown (docs/money.md)",
    )
    core_hour: Decimal = setting(
        "KUBEFINOPS_PRICE_CORE_HOUR",
        _price,
        lambda before: ON_DEMAND[before["provider"]].core_hour,
        "price of a core for an hour, on spot nodes too; by default the provider's",
    )
    gib_hour: Decimal = setting(
        "KUBEFINOPS_PRICE_GIB_HOUR",
        _price,
        lambda before: ON_DEMAND[before["provider"]].gib_hour,
        "price of a GiB of memory for an hour, on spot nodes too; by default the provider's",
    )
    price_node_label: str = setting(
        "KUBEFINOPS_PRICE_NODE_LABEL",
        matching(_LABEL, "a label's name as example.com/price"),
        "",
        "label of nodes whose value is the node's price for an hour, such as example.com/price",
    )
    price_file: PriceFile = setting(
        "KUBEFINOPS_PRICES_FILE",
        read_prices,
        PriceFile(),
        "CSV file with prices of nodes, in OpenCost's format (docs/money.md)",
    )
    currency: str = setting(
        "KUBEFINOPS_CURRENCY",
        matching(r"[A-Z]{3}", "a currency's code as USD"),
        "USD",
        "currency of the prices; of another than USD both have to be set",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from super().conflicts()
        missing = [name for name in PRICES if name not in self.given]
        if self.currency != "USD" and missing:
            yield (
                "KUBEFINOPS_CURRENCY",
                (
                    f"{self.currency} is that of the prices that are given, and providers' defaults are in"
                    f" USD: set {' and '.join(missing)}"
                ),
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

        given = [name for name in PRICES if name in self.given]
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


@dataclass(frozen=True, kw_only=True)
class RecommenderSettings(KafkaSettings, MongoSettings, ObjectStoreSettings, SizingSettings):
    """What recommender reads from its environment."""
