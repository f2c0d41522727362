"""Which prices a node has, and which rates a workload: by file, by label, by spot, by default."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from functions.recommender.nodes import Node, exported, nodes_of, spot_matchers
from functions.recommender.price_file import COLUMNS, PriceFile, read_prices
from functions.recommender.prices import PriceList, Prices
from functions.recommender.settings import SizingSettings
from shared.contracts.errors import BadSetting
from shared.contracts.events import Rates
from shared.contracts.pricing import rates
from shared.contracts.prometheus import Series
from tests.fakes.prometheus import FakeNode

HEADER = ",".join(COLUMNS)
BASE = rates(Decimal("0.02"), Decimal("0.01"), "USD", "the default")
SPOT = rates(Decimal("0.004"), Decimal("0.002"), "USD", "the default, spot")
COMMON, COMMON_SPOT = ("0.031611", "0.004237"), ("0.006655", "0.000892")
AZURE = ("0.039", "0.001917"), ("0.007764", "0.000382")
# With the ratio of BASE, 2, and 2 cores and 4 GiB, a node's core costs a quarter of it, and a GiB an eighth.
SMALL = Node("small", cores=Decimal(2), gib=Decimal(4))


def file(folder: Path, *lines: str, header: str = HEADER) -> str:
    path = folder / "prices.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return str(path)


def line(identity: str = "", field: str = "", price: str = "1", *, region: str = "", kind: str = "") -> str:
    return f"2019-04-17 23:34:22 UTC,{identity},{region},node,{field},{kind},{price},"


def node(name: str = "n1", **more: object) -> Node:
    return Node(name, cores=Decimal(2), gib=Decimal(4), **more)  # type: ignore[arg-type]


def pair(found: Rates) -> tuple[Decimal, Decimal]:
    return found.core_hour.amount, found.gib_hour.amount


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (
            "eks.amazonaws.com/capacityType",
            ("label_eks_amazonaws_com_capacity_type", "label_eks_amazonaws_com_capacityType"),
        ),
        ("karpenter.sh/capacity-type", ("label_karpenter_sh_capacity_type",)),
        ("cloud.google.com/gke-spot", ("label_cloud_google_com_gke_spot",)),
        ("kubernetes.azure.com/scalesetpriority", ("label_kubernetes_azure_com_scalesetpriority",)),
    ],
)
def test_labels_have_the_names_that_kube_state_metrics_gives_them(label: str, names: tuple[str, ...]) -> None:
    assert exported("label", label) == names
    assert any(matcher.startswith(f"{names[0]}=") for matcher in spot_matchers())


def test_a_nodes_size_is_its_capacity_and_else_what_is_allocatable() -> None:
    def size(metric: str, name: str, resource: str, value: float) -> Series:
        return Series({"__name__": f"kube_node_status_{metric}", "node": name, "resource": resource}, value)

    found = nodes_of(
        [
            *FakeNode("a", cores=3.92, gib=15.5, labels={"label_x": "y"}, provider_id="aws:///z/i-1").rows(),
            size("allocatable", "a", "cpu", 3.5),
            size("allocatable", "b", "cpu", 7.5),
            size("allocatable", "b", "memory", 2**33),
        ]
    )
    assert found["a"] == Node("a", Decimal("3.92"), Decimal("15.5"), {"label_x": "y"}, {}, "aws:///z/i-1")
    assert found["b"] == Node("b", Decimal("7.5"), Decimal(8))


def test_opencosts_own_example_is_read(tmp_path: Path) -> None:
    name = "gke-standard-cluster-1-pool-1-91dc432d-cg69"
    path = file(tmp_path, f"2019-04-17 23:34:22 UTC,{name},,node,metadata.name,,0.1337,")
    found = read_prices(path).price(node(name))
    assert found == (Decimal("0.1337"), "prices.csv line 2")


@pytest.mark.parametrize(
    ("written", "there"),
    [
        (line("N1", "metadata.name"), node()),
        (
            line("pool-A", "metadata.labels.example.com/nodePool"),
            node(labels={"label_example_com_node_pool": "Pool-a"}),
        ),
        (
            line("x7", "metadata.annotations.example.com/id"),
            node(annotations={"annotation_example_com_id": "x7"}),
        ),
        (line("i-0abc", "spec.providerID"), node(provider_id="aws:///eu-west-1a/i-0abc")),
        (line("aws:///eu-west-1a/i-0abc", "spec.providerID"), node(provider_id="aws:///eu-west-1a/i-0abc")),
        (line("/subscriptions/S/vm", "spec.providerID"), node(provider_id="azure:///subscriptions/s/vm")),
        (
            line(kind="m5.large", region="eu-west-1"),
            node(
                labels={
                    "label_node_kubernetes_io_instance_type": "m5.large",
                    "label_topology_kubernetes_io_region": "eu-west-1",
                }
            ),
        ),
        (line(kind="m5.large"), node(labels={"label_beta_kubernetes_io_instance_type": "m5.large"})),
    ],
)
def test_a_node_is_found_by_what_the_line_names_it_by(tmp_path: Path, written: str, there: Node) -> None:
    prices = read_prices(file(tmp_path, line("other", "metadata.name", "9"), written))
    assert prices.price(there) == (Decimal(1), "prices.csv line 3")
    assert prices.price(node("n2")) is None


def test_its_own_line_comes_before_its_kinds_and_its_regions_before_any_regions(tmp_path: Path) -> None:
    lines = [
        line(kind="m5.large", price="1"),
        line(kind="m5.large", price="2", region="eu"),
        line(kind="m5.large", price="5", region="EU"),
        line("n1", "metadata.name", "3"),
        line("n1", "metadata.name", "4", region="eu"),
        line("n2", "metadata.name", "6", region="us"),
    ]
    prices = read_prices(file(tmp_path, *lines))
    here = {"label_node_kubernetes_io_instance_type": "m5.large", "label_topology_kubernetes_io_region": "eu"}
    elsewhere = here | {"label_topology_kubernetes_io_region": "ap"}
    assert prices.price(node("n1", labels=here)) == (Decimal(4), "prices.csv line 6")
    assert prices.price(node("n1", labels=elsewhere)) == (Decimal(3), "prices.csv line 5")
    # The mean of its kind's lines, as OpenCost reckons; another region's line for its name is not about it.
    assert prices.price(node("n2", labels=here)) == (Decimal("3.5"), "prices.csv lines 3, 4")
    assert prices.price(node("n2", labels=elsewhere)) == (Decimal(1), "prices.csv line 2")


def test_volumes_gpus_comments_and_empty_lines_are_no_nodes(tmp_path: Path) -> None:
    volume = ",pvc-1,,pv,metadata.name,,0.1,"
    gpu = ",Tesla-T4,,gpu,nvidia.com/gpu_type,,2,"
    prices = read_prices(file(tmp_path, "# our contract", "", volume, gpu, line("n1", "metadata.name")))
    assert [each.number for each in prices.lines] == [6]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((line("n1", "metadata.name", "cheap"),), "line 2: MarketPriceHourly 'cheap' is no number"),
        ((line("n1", "metadata.name", ""),), "line 2: MarketPriceHourly '' is no number"),
        ((line("n1", "metadata.name", "NaN"),), "line 2: MarketPriceHourly 'NaN' is no number"),
        ((line("n1", "metadata.name", "1e99"),), "line 2: MarketPriceHourly '1e99' is no number"),
        (
            (line("n0", "metadata.name"), line("n1", "metadata.name", "-0.1")),
            "line 3: MarketPriceHourly -0.1 is negative",
        ),
        (
            (line("n1", "metadata.name", "1e7"),),
            "line 2: MarketPriceHourly 1e7 is more than 1,000,000 an hour",
        ),
        (("a,b,c",), "line 2: 3 values for 8 columns"),
        (
            (line("n1", "name"),),
            (
                "line 2: InstanceIDField 'name' is none of metadata.name, metadata.labels.LABEL,"
                " metadata.annotations.ANNOTATION and spec.providerID"
            ),
        ),
        ((line(),), "line 2: names no node: it has neither InstanceID nor InstanceType"),
        (('"a,b',), "unexpected end of data"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_variable_file_and_line(
    tmp_path: Path, lines: tuple[str, ...], says: str
) -> None:
    path = file(tmp_path, *lines)
    with pytest.raises(BadSetting) as caught:
        SizingSettings.read({"KUBEFINOPS_PRICES_FILE": path})
    assert str(caught.value) == f"setting KUBEFINOPS_PRICES_FILE: {path}: {says}"


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, header=HEADER.replace(",Region", "").replace(",Version", ""))
    with pytest.raises(ValueError, match=r"prices.csv: line 1: columns Region, Version missing; the first"):
        read_prices(path)


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = file(tmp_path, header=f"{HEADER},MarketPriceHourly")
    with pytest.raises(ValueError, match=r"prices.csv: line 1: column MarketPriceHourly is there twice"):
        read_prices(path)


def test_a_file_that_is_no_csv_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/nowhere/prices.csv: no such file or directory"):
        read_prices("/nowhere/prices.csv")
    empty, binary = tmp_path / "empty.csv", tmp_path / "binary.csv"
    empty.write_text("\n# nothing\n")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"empty.csv: it is empty; it begins with the line EndTimestamp,"):
        read_prices(str(empty))
    with pytest.raises(ValueError, match=r"binary.csv: is no text in UTF-8"):
        read_prices(str(binary))
    with pytest.raises(ValueError, match="is a directory"):
        read_prices(str(tmp_path))


def test_a_spreadsheets_byte_order_mark_columns_in_another_order_and_case_are_read(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    columns = (
        "MarketPriceHourly,EndTimeStamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,Version"
    )
    path.write_text(f"{columns}\r\n0.5,,n1,,node,metadata.name,,\r\n", encoding="utf-8-sig")
    found = read_prices(str(path)).price(node())
    assert found == (Decimal("0.5"), "prices.csv line 2")


def test_without_a_node_the_defaults_are_used_and_say_so() -> None:
    assert Prices(PriceList(BASE, SPOT)).of(()) == BASE
    by_label = Prices(PriceList(BASE, SPOT, "price")).of(())
    assert pair(by_label) == pair(BASE)
    assert by_label.source == "the default (no pod of it is seen on a node)"


def test_pods_on_spot_nodes_count_with_the_spot_rates() -> None:
    prices = Prices(PriceList(BASE, SPOT), spot={"s"})
    assert prices.of(("s", "s")) == SPOT
    mixed = prices.of(("n", "s", "s", "s"))
    # (0.02 + 3 x 0.004) / 4 and (0.01 + 3 x 0.002) / 4.
    assert pair(mixed) == (Decimal("0.008"), Decimal("0.004"))
    assert mixed.source == "mean over 4 pods: 3 by the default, spot, 1 by the default"
    assert Prices(PriceList(BASE, None), spot={"s"}).of(("s",)) == BASE, "prices that were given win"


def test_a_nodes_label_is_its_price_and_counts_before_spot() -> None:
    priced = Node("s", Decimal(2), Decimal(4), {"label_example_com_price_per_hour": "0.5"})
    prices = Prices(PriceList(BASE, SPOT, "example.com/pricePerHour"), {"s": priced, "small": SMALL}, {"s"})
    found = prices.of(("s",))
    assert pair(found) == (Decimal("0.125"), Decimal("0.0625"))
    assert found.source == "node label example.com/pricePerHour: 0.5 an hour for 2 cores and 4 GiB"
    # (0.125 + 0.02) / 2 and (0.0625 + 0.01) / 2.
    assert pair(prices.of(("s", "small"))) == (Decimal("0.0725"), Decimal("0.03625"))


@pytest.mark.parametrize("text", ["cheap", "-1", "Infinity"])
def test_a_label_that_is_no_price_leaves_the_default_and_is_told(text: str) -> None:
    priced = Node("n", Decimal(2), Decimal(4), {"label_price": text})
    found = Prices(PriceList(BASE, SPOT, "price"), {"n": priced}).of(("n",))
    assert pair(found) == pair(BASE)
    assert found.source == f"the default (node label price is {text!r}, which is no price)"


def test_a_price_of_a_node_whose_size_is_not_known_is_not_used() -> None:
    found = Prices(PriceList(BASE, SPOT, "price"), {"n": Node("n", labels={"label_price": "1"})}).of(("n",))
    assert pair(found) == pair(BASE)
    assert found.source.endswith("(node label price, but not how many cores and GiB the node has)")


def test_the_file_comes_before_the_label(tmp_path: Path) -> None:
    prices = read_prices(file(tmp_path, line("n", "metadata.name", "2")))
    there = {"n": Node("n", Decimal(2), Decimal(4), {"label_price": "1"})}
    found = Prices(PriceList(BASE, SPOT, "price", prices), there).of(("n",))
    assert pair(found) == (Decimal("0.5"), Decimal("0.25"))
    assert found.source == "prices.csv line 2: 2 an hour for 2 cores and 4 GiB"


def test_a_mean_of_lines_is_told_as_it_is_reckoned_with(tmp_path: Path) -> None:
    lines = [line(kind="m5.large", price=price) for price in ("0.1", "0.1", "0.2", "0.1", "0.1", "0.1")]
    there = {"n": node("n", labels={"label_node_kubernetes_io_instance_type": "m5.large"})}
    prices = PriceList(BASE, SPOT, file=read_prices(file(tmp_path, *lines)))
    found = Prices(prices, there).of(("n",))
    assert found.source == ("prices.csv lines 2, 3, 4 and 3 more: 0.116666667 an hour for 2 cores and 4 GiB")
    # A quarter and an eighth of 0.116666667.
    assert pair(found) == (Decimal("0.029166667"), Decimal("0.014583333"))


def test_of_many_kinds_of_nodes_an_event_tells_the_most_frequent() -> None:
    nodes = {f"n{n}": Node(f"n{n}", Decimal(2), Decimal(4), {"label_price": str(n + 1)}) for n in range(1000)}
    found = Prices(PriceList(BASE, None, "price"), nodes).of(list(nodes))
    assert found.source.endswith("996 by others")
    assert len(found.source) < 500


@pytest.mark.parametrize(
    ("variables", "base", "spot", "source"),
    [
        ({}, COMMON, COMMON_SPOT, "OpenCost's default for an unknown provider"),
        ({"PROVIDER": "aws"}, COMMON, COMMON_SPOT, "OpenCost's default for aws"),
        ({"PROVIDER": "azure"}, *AZURE, "OpenCost's default for azure"),
        ({"PROVIDER": "oracle"}, ("0.015", "0.002"), None, "OpenCost's default for oracle"),
        (
            {"PROVIDER": "azure", "CORE_HOUR": "0.05"},
            ("0.05", "0.001917"),
            None,
            "KUBEFINOPS_PRICE_CORE_HOUR, else OpenCost's default for azure",
        ),
        (
            {"CORE_HOUR": "0.05", "GIB_HOUR": "0.01"},
            ("0.05", "0.01"),
            None,
            "KUBEFINOPS_PRICE_CORE_HOUR and KUBEFINOPS_PRICE_GIB_HOUR",
        ),
    ],
)  # fmt: skip
def test_prices_that_are_set_win_over_a_providers(
    variables: dict[str, str], base: tuple[str, str], spot: tuple[str, str] | None, source: str
) -> None:
    read = SizingSettings.read({f"KUBEFINOPS_PRICE_{name}": value for name, value in variables.items()})
    listed = read.price_list
    assert pair(listed.base) == tuple(map(Decimal, base))
    assert listed.base.source == source
    assert (listed.spot and pair(listed.spot)) == (spot and tuple(map(Decimal, spot)))
    assert read.shown()["KUBEFINOPS_PRICE_CORE_HOUR"] == base[0]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PRICE_PROVIDER", "alibaba", "must be one of aws, gcp, azure, oracle, unknown"),
        ("PRICE_NODE_LABEL", "a label", "'a label' is not a label's name as example.com/price"),
        ("PRICE_CORE_HOUR", "-1", "must be a number from 0 to 1000000"),
    ],
)
def test_a_wrong_setting_is_one_line_about_itself(variable: str, value: str, says: str) -> None:
    with pytest.raises(BadSetting) as caught:
        SizingSettings.read({f"KUBEFINOPS_{variable}": value})
    assert str(caught.value) == f"setting KUBEFINOPS_{variable}: {says}"


def test_no_file_is_no_price() -> None:
    assert PriceFile().price(SMALL) is None
