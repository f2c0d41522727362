"""Everything that the loop needs, started and ended together: servers, stand-ins, functions and sources."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import requests

from infra.emulator.eventing import Eventing
from infra.emulator.functions import Functions, url_of
from infra.emulator.kafkasource import OnDelivery
from infra.emulator.manifests import load
from infra.emulator.servers.errors import StartError
from infra.emulator.servers.kafka import kafka_server
from infra.emulator.servers.mongo import mongo_server
from infra.emulator.servers.objectstore import objectstore_server
from infra.emulator.servers.ports import LOOPBACK, take_port
from infra.emulator.servers.process import Process
from infra.emulator.servers.prometheus import EmbeddedPrometheus, ScrapeJob, prometheus_server
from infra.emulator.servers.server import Server
from shared.contracts.errors import BadSetting
from shared.runtime.migrating import migrate

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = ROOT / "knative" / "overlays" / "local"
OWNER, REPOSITORY = "acme", "deploy"
SCRAPE_SECONDS = 2.0
STANDIN = "stand-in"
# The variable that replaces a stand-in, and how the variables of its secrets begin.
STANDIN_OF = {"GITHUB_URL": "GITHUB_", "ARGOCD_URL": "ARGOCD_"}
# Where infra/prometheus/prometheus.yml looks for the two that a Prometheus scrapes.
SCRAPED_PORTS = {"exporter": 9110, "cluster": 9111}
LISTEN = "KUBEFINOPS_LISTEN"
BAD_SETTING = 2  # the exit status of a function that refuses its settings


@dataclass(frozen=True)
class Usage:
    """What the cluster has used: as the `traces` in a folder say, None: generated from `seed`.

    `past` is the folder of another stack that made a demo and its history before (`make_past`), which end
    when it did; None: they are made now.
    """

    traces: Path | None = None
    past: Path | None = None
    seed: int = 7


@dataclass(frozen=True)
class Options:
    """What a stack can be told."""

    work: Path
    usage: Usage = Usage()
    tick_seconds: int = 1
    duplicate: bool = False
    standard_ports: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)


class Standin:
    """A stand-in as a process on a port of its own, which it keeps over restarts."""

    def __init__(self, name: str, address: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self.address = address
        port = address.rpartition(":")[2]
        self._command = [sys.executable, "-m", f"infra.standins.{name}", "--port", port, *arguments]
        self._log = log
        self.process: Process | None = None

    def start(self) -> None:
        """Raises StartError."""
        # What a stand-in that is killed leaves lying lies among the run's own files.
        scratch = self._log.parent.parent / "tmp"
        scratch.mkdir(exist_ok=True)
        self.process = Process.start(self._command, {"TMPDIR": str(scratch)}, self._log, cwd=ROOT)
        self.process.wait_line(r"^ready ", within=30)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()


class Stack:
    """Started by `start`, ended by `stop`, whatever happened in between."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        *,
        say: Callable[[str], None],
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """`environ` names servers that are used instead of embedded ones; `say` takes a line of progress.

        Exporter and cluster listen for a Prometheus that was given on the address in KUBEFINOPS_LISTEN.
        """
        self.options = options
        self._environ = environ
        self._say = say
        self._on_delivery = on_delivery
        self.manifests = load(OVERLAY)
        work = options.work
        self.logs = work / "logs"
        self.demo = work / "demo"
        self._prometheus = work / "prometheus"
        # Made anew for each run: nothing that is printed or committed lets anybody in.
        self._tokens = {
            name: secrets.token_hex(16)
            for name in ("GITHUB_TOKEN", "GITHUB_WEBHOOK_SECRET", "ARGOCD_TOKEN", "ARGOCD_WEBHOOK_TOKEN")
        }
        self._addresses: dict[str, str] = {}
        self._started = 0.0
        self._stopping = threading.Event()
        self.reviewer_token = secrets.token_hex(16)
        self.servers: dict[str, Server] = {}
        self.standins: dict[str, Standin] = {}
        self.functions: Functions | None = None
        self.eventing: Eventing | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The settings as the functions get them here."""
        variables: dict[str, str] = {
            "KUBEFINOPS_AUTO_MERGE": "true",
            "KUBEFINOPS_TICK_SECONDS": str(self.options.tick_seconds),
            "GITHUB_WRITE_PAUSE_SECONDS": "0",
            **self._tokens,
            **self._addresses,
        }
        for server in self.servers.values():
            variables |= server.environment()
        if "MONGODB_URI" in self._environ and "MONGODB_DATABASE" not in self._environ:
            # A server that was given may hold former runs: this one keeps to a database of its own.
            variables["MONGODB_DATABASE"] = f"kubefinops_{self.options.work.name}_{int(self._started)}"
        named = {name: value for name, value in self._environ.items() if name in self._known_settings}
        for variable, name in STANDIN_OF.items():
            if variable not in self._environ:
                # The shell's tokens are for the real thing: a stand-in neither knows nor gets them.
                named = {key: value for key, value in named.items() if not key.startswith(name)}
        return {**variables, **named, **self.options.settings}

    @property
    def _known_settings(self) -> frozenset[str]:
        return frozenset[str]().union(*(service.variables for service in self.manifests.services)) - {
            "PORT",
            "THREADS",
            "FUNCTION_TARGET",
            "FUNCTION_SIGNATURE_TYPE",
        }

    def start(self) -> None:
        """Returns when the loop can be asked to run. Raises ServerError, ManifestError, KubeFinOpsError."""
        self._started = time.time()
        work, environ = self.options.work, self._environ
        shutil.rmtree(work, ignore_errors=True)
        self.logs.mkdir(parents=True)
        usual = self.options.standard_ports
        topics = {topic.name: topic.partitions for topic in self.manifests.kafka_topics}
        kafka = self.servers["kafka"] = kafka_server(environ, topics, self.logs)
        if kafka.kind == "embedded":
            self._timed(kafka.name, kafka.start)
        mongo = self.servers["mongodb"] = mongo_server(
            environ, work / "mongodb", self.logs, 27017 if usual else 0
        )
        store = self.servers["objectstore"] = objectstore_server(
            environ, work / "s3", self.logs, 9000 if usual else 0
        )
        # Functions and Prometheus need each other's port, so this one is chosen before either is made.
        port, notice = take_port(9090 if usual else 0, "Prometheus")
        if notice and "PROMETHEUS_URL" not in environ:
            self._say(notice)
        self._addresses["PROMETHEUS_URL"] = f"http://{LOOPBACK}:{port}"
        for variable in STANDIN_OF:
            self._addresses[variable] = f"http://{LOOPBACK}:{take_port(0, variable)[0]}"
        self.functions = self._make_processes()
        prometheus = self.servers["prometheus"] = prometheus_server(
            environ,
            self._prometheus,
            self.logs,
            self._scrape_jobs(self.functions["exporter"].url),
            self.demo / "history.om",
            port=port,
        )
        for server in self.servers.values():
            if server.kind == "given":  # what somebody named is asked before anything is waited for
                self._timed(server.name, server.start)
        with ThreadPoolExecutor() as pool:
            started = [
                pool.submit(self._start_cluster, prometheus),
                pool.submit(self._timed, "functions", self._start_functions),
            ]
            started += [
                pool.submit(self._timed, server.name, server.start)
                for server in (mongo, store)
                if server.kind == "embedded"
            ]
            try:
                done, _ = wait(started, return_when=FIRST_EXCEPTION)
                for one in done:
                    one.result()
            except BaseException:  # Ctrl-C too
                self.stop()  # the others need not become ready first
                raise
        for line in migrate(self.demo / "policies.json", self.environment):
            self._say(line)
        self.eventing = Eventing(
            self.manifests,
            bootstrap=self.environment["KAFKA_BOOTSTRAP_SERVERS"],
            addresses=self.functions.addresses,
            on_delivery=self._on_delivery,
            duplicate=self.options.duplicate,
        )
        self.eventing.start()
        self._wait_for_first_scrape()

    def _start_functions(self) -> None:
        """Raises BadSetting with the line of a function that refused its settings, else StartError."""
        assert self.functions is not None
        try:
            self.functions.start()
        except StartError:
            for function in self.functions:
                if function.exit_status == BAD_SETTING:
                    raise BadSetting(function.log.read_text().strip().splitlines()[-1]) from None
            raise

    def stop(self) -> None:
        """Ends everything that was started; may be called at any time and more than once."""
        self._stopping.set()
        if self.eventing is not None:
            self.eventing.stop(grace=2)
        if self.functions is not None:
            self.functions.stop(grace=3)
        with ThreadPoolExecutor() as pool:
            for stop in [part.stop for part in self.standins.values()]:
                pool.submit(stop)
            for server in self.servers.values():
                pool.submit(server.stop)

    def services(self) -> dict[str, dict[str, str]]:
        """Name to kind, address and version of everything that was reached."""
        found = {
            server.name: {"kind": server.kind, "address": server.address, "version": server.version}
            for server in self.servers.values()
        }
        for standin in self.standins.values():
            found[standin.name] = {"kind": STANDIN, "address": standin.address, "version": STANDIN}
        return found

    def _make_processes(self) -> Functions:
        """The functions, and the stand-ins that tell them what happened."""
        scraped = self._scraped()
        functions = Functions(
            self.manifests,
            root=ROOT,
            overrides=self.environment,
            logs=self.logs,
            listening={"exporter": scraped["exporter"]},
        )
        self._make_standins(functions["receiver"].url, *scraped["cluster"])
        return functions

    def _scraped(self) -> dict[str, tuple[str, int]]:
        """Where exporter and cluster listen. Raises BadSetting."""
        given = bool(self._environ.get("PROMETHEUS_URL"))
        host = _own_address(self._environ.get(LISTEN) or LOOPBACK) if given else LOOPBACK
        where = {}
        for name, usual in SCRAPED_PORTS.items():
            port, notice = take_port(usual if given and self.options.standard_ports else 0, name)
            if notice:
                self._say(f"{notice.replace(LOOPBACK, host)}; the given Prometheus has to look there")
            where[name] = (host, port)
        return where

    def _make_standins(self, receiver: str, host: str, port: int) -> None:
        """`host` and `port` are the cluster's."""
        scenario, repositories = str(self.demo / "scenario.json"), str(self.demo / "repos")
        cluster = url_of(host, port)
        tokens = self._tokens
        wanted = {
            "github": (
                self._addresses["GITHUB_URL"],
                [
                    *("--root", repositories, "--token", f"kubefinops-bot={tokens['GITHUB_TOKEN']}"),
                    *("--token", f"alice={self.reviewer_token}"),
                    *("--webhook", f"{receiver}/webhooks/github"),
                    *("--webhook-secret", tokens["GITHUB_WEBHOOK_SECRET"]),
                ],
            ),
            "cluster": (
                cluster,
                [
                    *("--scenario", scenario, "--lived", str(self.demo / "cluster.pickle")),
                    *(() if host == LOOPBACK else ("--host", host)),
                ],
            ),
            "argocd": (
                self._addresses["ARGOCD_URL"],
                [
                    *("--scenario", scenario, "--cluster", cluster, "--repos", repositories),
                    *("--token", tokens["ARGOCD_TOKEN"], "--webhook", f"{receiver}/webhooks/argocd"),
                    *("--webhook-token", tokens["ARGOCD_WEBHOOK_TOKEN"]),
                ],
            ),
        }
        for name, (address, arguments) in wanted.items():
            if name == "cluster" or f"{name.upper()}_URL" not in self._environ:
                self.standins[name] = Standin(name, address, arguments, self.logs / f"standin-{name}.log")

    def _scrape_jobs(self, exporter: str) -> list[ScrapeJob]:
        where = {
            "cadvisor": (self.standins["cluster"].address, "/metrics/cadvisor"),
            "kube-state-metrics": (self.standins["cluster"].address, "/metrics/kube-state-metrics"),
            "kubefinops": (exporter, "/metrics"),
        }
        return [
            ScrapeJob(job, [address.removeprefix("http://")], path, SCRAPE_SECONDS)
            for job, (address, path) in where.items()
        ]

    def _start_cluster(self, prometheus: Server) -> None:
        """The demo's repository and scenario, what reads them, and Prometheus with their history."""
        self._timed("demo", self._make_demo)
        for standin in self.standins.values():
            self._timed(standin.name, standin.start)
        if prometheus.kind == "embedded":
            self._timed(prometheus.name, prometheus.start)

    def make_past(self) -> None:
        """Makes what `Usage.past` of other stacks can name, in this one's folder. Raises StartError."""
        self._make_demo()
        EmbeddedPrometheus(
            self._prometheus, self.logs, openmetrics=self.demo / "history.om", port=0
        ).backfill()

    def _make_demo(self) -> None:
        usage = self.options.usage
        if usage.past is not None:
            shutil.copytree(usage.past / self.demo.name, self.demo)
            if self.servers["prometheus"].kind == "embedded":
                shutil.copytree(usage.past / self._prometheus.name, self._prometheus)
            return
        command = [sys.executable, "-m", "infra.standins.demo", "--out", str(self.demo)]
        command += ["--seed", str(usage.seed), "--owner", OWNER, "--repo", REPOSITORY]
        if usage.traces is not None:
            command += ["--traces", str(usage.traces.resolve())]
        process = Process.start(command, {}, self.logs / "demo.log", cwd=ROOT)
        while process.alive and not self._stopping.wait(0.02):
            pass
        if process.kill() != 0:
            last = process.output().strip().splitlines()[-1:] or ["no output"]
            raise StartError(f"the demo could not be made: {last[0]}")

    def _wait_for_first_scrape(self, within: float = 20) -> None:
        """The present must have begun: until then the last five minutes hold history alone."""
        address = self.environment["PROMETHEUS_URL"]
        if self.servers["prometheus"].kind == "given":
            return
        deadline = time.monotonic() + within
        query = {"query": 'min(up{job=~"cadvisor|kube-state-metrics"})'}
        while time.monotonic() < deadline:
            answer = requests.get(f"{address}/api/v1/query", params=query, timeout=5).json()
            values = [series["value"][1] for series in answer.get("data", {}).get("result", [])]
            if values == ["1"]:
                return
            time.sleep(0.1)
        raise StartError(f"Prometheus has not scraped the cluster stand-in within {within:g} s")

    def _timed(self, name: str, start: Callable[[], object]) -> None:
        if self._stopping.is_set():
            return
        began = time.monotonic()
        start()
        server = self.servers.get(name)
        what = f"{server.kind}, {server.version} at {server.address}" if server else "ready"
        self._say(f"{name}: {what} ({time.monotonic() - began:.1f} s)")
        if server is not None and server.notice:
            self._say(server.notice)


def _own_address(address: str) -> str:
    """Raises BadSetting where nothing can listen on it."""
    try:
        with socket.socket() as probe:
            probe.bind((str(IPv4Address(address)), 0))
    except (ValueError, OSError):
        raise BadSetting(f"{LISTEN}: {address!r} is no IPv4 address of this machine") from None
    return address
