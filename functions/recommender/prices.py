"""Which rates a workload is reckoned with, and why: those of the nodes its pods run on, else the defaults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from functions.recommender.nodes import Node
from functions.recommender.price_file import MOST, PriceFile, price_of
from shared.contracts.events import Rates
from shared.contracts.pricing import mean, rates_of_node, rounded
from shared.contracts.wording import counted

# So many kinds of rates are told of one workload; an event is to stay small.
MOST_SOURCES = 4


@dataclass(frozen=True)
class PriceList:
    """What the settings say of prices.

    `base` are the rates of nodes of which nothing else is known, `spot` those of spot nodes, or None where
    they cost as much as others. `node_label` names the label whose value is a node's price for an hour.
    """

    base: Rates
    spot: Rates | None = None
    node_label: str = ""
    file: PriceFile = field(default_factory=PriceFile)

    @property
    def by_node(self) -> bool:
        """Whether more must be known of nodes than that they are spot."""
        return bool(self.node_label or self.file.lines)


class Prices:
    """A price list for the nodes of one reading: `nodes` by name, and the names of those that are spot."""

    def __init__(
        self, listed: PriceList, nodes: Mapping[str, Node] | None = None, spot: Iterable[str] = ()
    ) -> None:
        self.base = listed.base
        self._list = listed
        self.nodes = nodes or {}
        self.spot = frozenset(spot)
        self._known: dict[str, Rates] = {}

    def of(self, nodes: Iterable[str]) -> Rates:
        """The mean over the nodes of a workload's pods, one name for each pod; the defaults without any."""
        counts = Counter(nodes)
        if not counts:
            if self._list.by_node:
                return self.base.model_copy(
                    update={"source": f"{self.base.source} (no pod of it is seen on a node)"}
                )
            return self.base
        by_rates = Counter[Rates]()
        for name, count in counts.items():
            by_rates[self.of_node(name)] += count
        ordered = by_rates.most_common()
        if len(ordered) == 1:
            return ordered[0][0]
        told = [f"{count} by {each.source}" for each, count in ordered[:MOST_SOURCES]]
        if more := sum(count for _, count in ordered[MOST_SOURCES:]):
            told.append(f"{more} by others")
        return mean(ordered, f"mean over {counted(counts.total(), 'pod')}: {', '.join(told)}")

    def of_node(self, name: str) -> Rates:
        """A node's: by the file, else by the label, else the spot rates, else the defaults."""
        if name not in self._known:
            self._known[name] = self._reckoned(name)
        return self._known[name]

    def _reckoned(self, name: str) -> Rates:
        otherwise = self._list.spot if name in self.spot and self._list.spot is not None else self.base
        node = self.nodes.get(name)
        if node is None or (found := self._priced(node)) is None:
            return otherwise
        price, source = found
        if price is None:
            return otherwise.model_copy(update={"source": f"{otherwise.source} ({source})"})
        if node.cores is None or node.gib is None:
            lacking = f"{source}, but not how many cores and GiB the node has"
            return otherwise.model_copy(update={"source": f"{otherwise.source} ({lacking})"})
        price = rounded(price)
        said = f"{source}: {price:f} an hour for {_plain(node.cores)} cores and {_plain(node.gib)} GiB"
        return rates_of_node(price, node.cores, node.gib, self.base, said) or otherwise

    def _priced(self, node: Node) -> tuple[Decimal | None, str] | None:
        """The node's price for an hour and where it stands; None for the price where that is no price."""
        if (found := self._list.file.price(node)) is not None:
            return found
        if self._list.node_label and (text := node.label(self._list.node_label)):
            price = price_of(text)
            if price is None or not 0 <= price <= MOST:
                return None, f"node label {self._list.node_label} is {text!r}, which is no price"
            return price, f"node label {self._list.node_label}"
        return None


def _plain(amount: Decimal) -> str:
    """As people write it, to three decimals."""
    return f"{amount:.3f}".rstrip("0").rstrip(".")
