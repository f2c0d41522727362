"""What a Prometheus that lets not everybody in is sent: what a server received, not what a client holds."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.adapters.prometheus import HttpPrometheus
from shared.contracts.errors import BadSetting, Temporary
from shared.contracts.prometheus import Build
from shared.runtime.settings import PrometheusSettings
from shared.runtime.world import World, prometheus_of

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)
ANSWER = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"7"]}]}}'


BUILDS = {
    "prometheus": b'{"status":"success","data":{"version":"3.5.0","goVersion":"go1.24"}}',
    "mimir": b'{"status":"success","data":{"application":"Grafana Mimir","version":"2.17.1"}}',
    "victoria": b'{"status":"success","data":{"version":"2.24.0"}}',
    "html": b"<html>",
}


class Server(ThreadingHTTPServer):
    """Answers every query with 7, and keeps the headers and the form that it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[dict[str, str]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us ends the handshake: that is what a test wants."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.received.append(dict(self.headers.items()) | {"form": form})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def do_GET(self) -> None:
        """What a server says of itself; one of VictoriaMetrics says so in each answer's headers."""
        path, _, query = self.path.removeprefix("/").partition("/api/v1/status/buildinfo")
        assert not query
        if path == "victoria":
            self.send_response(200)
            self.send_header("X-Server-Hostname", "vmselect-0")
        else:
            self.send_response(200 if path in BUILDS else 404)
        self.end_headers()
        self.wfile.write(BUILDS.get(path, b"page not found"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    with Server() as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **variables: str) -> dict[str, str]:
    """The headers that a server gets of a client with these settings, on a machine with a .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving() as server:
        address = f"http://127.0.0.1:{server.server_port}"
        settings = PrometheusSettings.read({"PROMETHEUS_URL": address, **variables})
        assert [row.value for row in World("any", settings).prometheus.query("up", NOW)] == [7.0]
    (received,) = server.received
    return received


def test_a_token_is_sent_as_bearer_whatever_the_machine_knows_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert sent(monkeypatch, tmp_path, PROMETHEUS_TOKEN="t0ken")["Authorization"] == "Bearer t0ken"


def test_a_token_in_a_file_is_read_anew_for_each_query(tmp_path: Path) -> None:
    """A ServiceAccount's is replaced each hour, and a function's process lives on."""
    path = tmp_path / "token"
    path.write_text("first\n")
    with serving() as server:
        address = f"http://127.0.0.1:{server.server_port}"
        settings = PrometheusSettings.read({"PROMETHEUS_URL": address, "PROMETHEUS_TOKEN_FILE": str(path)})
        prometheus = prometheus_of(settings)
        prometheus.query("up", NOW)
        path.write_text("second\n")
        prometheus.query("up", NOW)
        path.unlink()
        with pytest.raises(Temporary, match=f"^PROMETHEUS_TOKEN_FILE: {path}: no such file"):
            prometheus.query("up", NOW)
        assert prometheus.build() == Build()
    assert [each["Authorization"] for each in server.received] == ["Bearer first", "Bearer second"]


def test_a_user_is_sent_by_basic_authentication(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    headers = sent(monkeypatch, tmp_path, PROMETHEUS_USERNAME="me", PROMETHEUS_PASSWORD="p:w")
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'me:p:w').decode()}"


def test_a_name_and_a_password_of_any_language_are_sent_in_utf_8(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    headers = sent(monkeypatch, tmp_path, PROMETHEUS_USERNAME="J\u00fcrg", PROMETHEUS_PASSWORD="5\u20ac")
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == "J\u00fcrg:5\u20ac"


@pytest.mark.parametrize("login", ["J\u00fcrg:5\u20ac@", "J%C3%BCrg:5%E2%82%AC@"])
def test_a_user_in_the_address_is_sent_alike(login: str) -> None:
    with serving() as server:
        one = HttpPrometheus(f"http://{login}127.0.0.1:{server.server_port}")
        assert [row.value for row in one.query("up", NOW)] == [7.0]
        assert one.address == f"http://127.0.0.1:{server.server_port}"
    (received,) = server.received
    told = base64.b64decode(received["Authorization"].removeprefix("Basic ")).decode()
    assert told == "J\u00fcrg:5\u20ac"


def test_the_tenant_of_mimir_is_sent_beside_either(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    headers = sent(monkeypatch, tmp_path, PROMETHEUS_TOKEN="t", PROMETHEUS_TENANT="team-a|team-b")
    assert (headers["X-Scope-OrgID"], headers["Authorization"]) == ("team-a|team-b", "Bearer t")
    assert "X-Scope-OrgID" not in sent(monkeypatch, tmp_path, PROMETHEUS_TOKEN="t")


def test_caches_of_answers_are_passed_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    received = sent(monkeypatch, tmp_path)
    assert "nocache=1" in received["form"].split("&"), "VictoriaMetrics' own"
    assert received["Cache-Control"] == "no-store", "Mimir, Cortex and Thanos look for it"


def test_a_certificate_of_ones_own_authority_is_trusted_by_its_file_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority, certificate = certificates(tmp_path)
    # What a machine says of all of its connections does not stand against what is said of this one.
    stranger, _ = certificates(tmp_path / "stranger")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(stranger))
    with serving(certificate) as server:
        address = f"https://127.0.0.1:{server.server_port}"

        def ask(**variables: str) -> list[float]:
            settings = PrometheusSettings.read({"PROMETHEUS_URL": address, **variables})
            return [row.value for row in World("any", settings).prometheus.query("up", NOW)]

        assert ask(PROMETHEUS_CA_FILE=str(authority)) == [7.0]
        with pytest.raises(Temporary, match=r"certificate is not trusted \(.*PROMETHEUS_CA_FILE"):
            ask()
        with pytest.raises(Temporary, match="certificate is not trusted"):
            ask(PROMETHEUS_CA_FILE=str(stranger))
    assert len(server.received) == 1


def test_a_proxy_that_is_not_there_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Temporary, match=r"connection refused, of the proxy that HTTP_PROXY.* NO_PROXY$"):
        HttpPrometheus("http://prometheus.example:9090").query("up", NOW)


def test_that_a_server_speaks_no_tls_is_said_in_words() -> None:
    with serving() as server, pytest.raises(Temporary, match=r": it speaks no TLS; give .* with http://$"):
        HttpPrometheus(f"https://127.0.0.1:{server.server_port}").query("up", NOW)


@pytest.mark.parametrize(
    ("path", "kind", "version"),
    [
        ("prometheus", "Prometheus", "3.5.0"),
        ("mimir", "Grafana Mimir", "2.17.1"),
        ("victoria", "VictoriaMetrics", None),
        ("html", None, None),
        ("none", None, None),
    ],
)
def test_a_server_is_asked_what_it_is(path: str, kind: str | None, version: str | None) -> None:
    with serving() as server:
        build = HttpPrometheus(f"http://127.0.0.1:{server.server_port}/{path}").build()
    assert (build.kind, build.version) == (kind, version)
    assert build.clock is not None
    assert abs(build.clock - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=10)
    assert HttpPrometheus("http://127.0.0.1:1").build() == Build()


def test_a_clock_of_no_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "date_time_string", lambda _: "Fri, 20 Nov 2026 12:00:00 -0000")
    with serving() as server:
        assert HttpPrometheus(f"http://127.0.0.1:{server.server_port}").build().clock == NOW


def test_a_file_without_certificates_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name, words in (("ca.pem", "holds no certificates"), ("gone.pem", "no such file")):
        with pytest.raises(BadSetting, match=f"^setting PROMETHEUS_CA_FILE: {tmp_path}/{name}.*{words}"):
            PrometheusSettings.read({"PROMETHEUS_CA_FILE": str(tmp_path / name)})


def certificates(folder: Path) -> tuple[Path, Path]:
    """A new authority's certificate, and one that it signed for 127.0.0.1, with its key."""
    folder.mkdir(exist_ok=True)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("authority", "server")
    ]
    now = dt.datetime.now(dt.UTC)
    made = []
    for is_authority, key, name in zip((True, False), keys, names, strict=True):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "authority.pem").write_bytes(made[0])
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + made[1])
    return folder / "authority.pem", folder / "server.pem"
