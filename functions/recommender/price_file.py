"""Prices of nodes in a CSV file of OpenCost's format, and which of its lines a node's price is in.

EndTimestamp and Version are not looked at, as in OpenCost. Lines for volumes (AssetClass pv) and GPUs (gpu)
are not either: requests for CPU and memory do not pay for them. Any other class is a node's, as in OpenCost.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from functions.recommender.nodes import Node

COLUMNS = (
    "EndTimestamp",
    "InstanceID",
    "Region",
    "AssetClass",
    "InstanceIDField",
    "InstanceType",
    "MarketPriceHourly",
    "Version",
)
NOT_NODES = ("pv", "gpu")
FIELDS = r"metadata\.name|metadata\.labels\..+|metadata\.annotations\..+|spec\.providerID"
LARGEST = 16 << 20  # bytes; some 100,000 lines
# An hour of any machine costs less; more is a slip, such as a month's price.
MOST = Decimal(1_000_000)


@dataclass(frozen=True)
class Line:
    """A line about a node; texts are lower case, because OpenCost compares them so."""

    number: int
    instance_id: str
    region: str
    field: str
    instance_type: str
    price: Decimal


@dataclass(frozen=True)
class PriceFile:
    """The lines of a file; its text is the file's path, as the setting has it."""

    path: str = ""
    lines: tuple[Line, ...] = ()
    _fields: dict[str, None] = field(default_factory=dict, repr=False, compare=False)
    _by_id: dict[tuple[str, str, str], Line] = field(default_factory=dict, repr=False, compare=False)
    _by_type: dict[tuple[str, str], list[Line]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for line in self.lines:
            if line.instance_id:
                # Of two lines for one node the later counts, as in OpenCost.
                self._by_id[line.field, line.region, line.instance_id] = line
                self._fields[line.field] = None
            if line.instance_type:
                self._by_type.setdefault((line.region, line.instance_type), []).append(line)

    def __str__(self) -> str:
        return self.path

    def price(self, node: Node) -> tuple[Decimal, str] | None:
        """The node's price for an hour, and which lines it is from; None if none is about it.

        A line with its id comes first, then the mean of those with its instance type. A line with a Region
        is only about nodes of that region, and comes before one without, which is about nodes of any.
        """
        from functions.recommender.nodes import INSTANCE_TYPE, REGION  # noqa: PLC0415  only with a file

        name = Path(self.path).name
        regions = dict.fromkeys((node.label(*REGION).lower(), ""))
        for region in regions:
            for where in self._fields:
                for value in _values(node, where):
                    if (line := self._by_id.get((where, region, value))) is not None:
                        return line.price, f"{name} line {line.number}"
        kind = node.label(*INSTANCE_TYPE).lower()
        for region in regions:
            if lines := self._by_type.get((region, kind)):
                price = sum((line.price for line in lines), Decimal(0)) / len(lines)
                numbers = ", ".join(str(line.number) for line in lines[:3])
                more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
                return price, f"{name} line{'s' if len(lines) > 1 else ''} {numbers}{more}"
        return None


def read_prices(path: str) -> PriceFile:
    """The file's prices; no path is no prices.

    Raises:
        ValueError: the file cannot be read, or says by its line what is wrong with it.
    """
    if not path:
        return PriceFile()
    try:
        if Path(path).stat().st_size > LARGEST:
            raise ValueError(f"{path}: has more than {LARGEST >> 20} MiB, which no list of prices has")
        # Spreadsheets begin with a byte order mark.
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no text in UTF-8") from None
    try:
        return PriceFile(path, tuple(_lines(text)))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from None


def _lines(text: str) -> Iterator[Line]:
    reader = csv.reader(text.splitlines(), strict=True)
    header: list[str] = []
    while not header:
        if (record := next(reader, None)) is None:
            raise ValueError(f"it is empty; it begins with the line {','.join(COLUMNS)}")
        header = [name.strip().lower() for name in record] if _says_something(record) else []
    if missing := [name for name in COLUMNS if name.lower() not in header]:
        raise ValueError(
            f"line {reader.line_num}: column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing;"
            f" the first line has to be {','.join(COLUMNS)}, with commas"
        )
    if twice := [name for name in COLUMNS if header.count(name.lower()) > 1]:
        raise ValueError(f"line {reader.line_num}: column {twice[0]} is there twice")
    for record in reader:
        if not _says_something(record):
            continue
        number = reader.line_num
        if len(record) != len(header):
            raise ValueError(f"line {number}: {len(record)} values for {len(header)} columns")
        values = dict(zip(header, (value.strip() for value in record), strict=True))
        if (line := _line(number, values)) is not None:
            yield line


def _says_something(record: list[str]) -> bool:
    """Neither empty nor a comment, which OpenCost knows as a line of one value with # before it."""
    return any(record) and not (len(record) == 1 and record[0].startswith("#"))


def _line(number: int, values: dict[str, str]) -> Line | None:
    """The line if it is about a node. Raises ValueError."""
    price = _price(number, values["marketpricehourly"])
    if values["assetclass"].lower() in NOT_NODES:
        return None
    instance_id, instance_type, where = (
        values["instanceid"],
        values["instancetype"],
        values["instanceidfield"],
    )
    if not instance_id and not instance_type:
        raise ValueError(f"line {number}: names no node: it has neither InstanceID nor InstanceType")
    if instance_id and not re.fullmatch(FIELDS, where):
        raise ValueError(
            f"line {number}: InstanceIDField {where!r} is none of metadata.name, metadata.labels.LABEL,"
            " metadata.annotations.ANNOTATION and spec.providerID"
        )
    return Line(number, instance_id.lower(), values["region"].lower(), where, instance_type.lower(), price)


def _price(number: int, text: str) -> Decimal:
    price = price_of(text)
    if price is None:
        raise ValueError(f"line {number}: MarketPriceHourly {text!r} is no number")
    if price < 0:
        raise ValueError(f"line {number}: MarketPriceHourly {text} is negative")
    if price > MOST:
        raise ValueError(f"line {number}: MarketPriceHourly {text} is more than {MOST:,} an hour")
    return price


def price_of(text: str) -> Decimal | None:
    """The number in it; None if there is none."""
    try:
        price = Decimal(text) if re.fullmatch(r"[-+0-9.eE]+", text) else None
    except InvalidOperation:
        return None
    return None if price is None or abs(price.adjusted()) > 30 else price


def _values(node: Node, name: str) -> Iterator[str]:
    """What the node has in an InstanceIDField. Of a providerID, OpenCost takes a part: either is meant."""
    if name == "metadata.name":
        yield node.name.lower()
    elif name == "spec.providerID":
        identity = node.provider_id.lower()
        yield identity
        if found := re.match(r"aws:///[^/]+/([^/]+)", identity):
            yield found[1]
        yield identity.removeprefix("azure://")
    elif name.startswith("metadata.labels."):
        yield node.label(name.removeprefix("metadata.labels.")).lower()
    else:
        yield node.annotation(name.removeprefix("metadata.annotations.")).lower()
