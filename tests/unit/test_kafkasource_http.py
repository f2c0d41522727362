"""How events reach an HTTP sink."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from infra.emulator import http_sink
from infra.emulator.cloudevent import CloudEvent
from infra.emulator.http_sink import HttpSink, TransportError
from infra.emulator.manifests import Reference, destination_of
from tests.fakes.event_receiver import Answer, Request, event_receiver

EVENT = CloudEvent(
    {
        "specversion": "1.0",
        "id": "a b",
        "source": "/s",
        "type": "t",
        "datacontenttype": "application/json",
    },
    b'{"a":1}',
)


def test_an_event_is_posted_in_binary_mode() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        assert sink.send(EVENT, {"Prefer": "reply", "Kn-Namespace": "ns"}, 5).status == 204
        sink.close()
        request = receiver.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/", b'{"a":1}')
    wanted = {"ce-id": "a%20b", "ce-type": "t", "content-type": "application/json", "prefer": "reply"}
    assert wanted.items() <= request.headers.items()
    assert request.headers["kn-namespace"] == "ns"


def test_a_tombstone_is_posted_with_an_empty_body() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        sink.send(CloudEvent({"id": "1"}, None), {}, 5)
        sink.close()
        assert receiver.requests[0].headers["content-length"] == "0"


def test_a_redirect_is_not_followed() -> None:
    with event_receiver(lambda _: Answer(302, headers={"Location": "/elsewhere"})) as receiver:
        sink = HttpSink(receiver.url)
        assert sink.send(EVENT, {}, 5).status == 302
        sink.close()
        assert len(receiver.requests) == 1


def test_body_and_headers_of_the_response_are_handed_back() -> None:
    with event_receiver(lambda _: Answer(422, b"bad data", {"Kne-Reason": "x"})) as receiver:
        sink = HttpSink(receiver.url)
        response = sink.send(EVENT, {}, 5)
        sink.close()
    assert (response.status, response.body, response.headers["Kne-Reason"]) == (422, b"bad data", "x")


def test_a_refused_connection_is_a_transport_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        sink = HttpSink(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(TransportError):
            sink.send(EVENT, {}, 5)


def test_a_request_beyond_its_timeout_is_a_transport_error() -> None:
    release = threading.Event()

    def late(_: Request) -> Answer:
        release.wait(10)
        return Answer()

    with event_receiver(late) as receiver:
        sink = HttpSink(receiver.url)
        with pytest.raises(TransportError):
            sink.send(EVENT, {}, 0.05)
        release.set()


@contextmanager
def trickling(*parts: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that says `parts` to whoever comes, a byte every 20 ms; its address without the scheme."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        try:
            with tls.wrap_socket(connection, server_side=True) if tls else connection as talking:
                talking.recv(65536)
                for byte in b"".join(parts):
                    talking.sendall(bytes([byte]))
                    if over.wait(0.02):
                        return
        except OSError:
            return  # the client had enough

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join(5)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"


@pytest.mark.parametrize("parts", [(HEAD, b"x" * 500), (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 90,)])
def test_a_response_that_trickles_in_is_a_transport_error_at_the_timeout(parts: tuple[bytes, ...]) -> None:
    with trickling(*parts) as host:
        began = time.monotonic()
        with pytest.raises(TransportError, match="timed out"):
            HttpSink(f"http://{host}").send(EVENT, {}, 1.2)
        assert 1.2 <= time.monotonic() - began < 2


def test_a_kept_connection_has_a_new_deadline_for_each_event() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        sink.send(EVENT, {}, 0.2)
        time.sleep(0.3)
        assert sink.send(EVENT, {}, 5).status == 204
        sink.close()
        assert len({request.client for request in receiver.requests}) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one of 127.0.0.1, with its key in the same file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(pem))
    return path


@pytest.fixture
def serving_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_https_is_spoken_with_tls(
    serving_tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with trickling(b"HTTP/1.0 202 A\r\n\r\nit", tls=serving_tls) as host:
        response = HttpSink(f"https://{host}/in").send(EVENT, {}, 5)
    assert (response.status, response.body) == (202, b"it")


def test_a_certificate_that_nobody_vouches_for_is_a_transport_error(serving_tls: ssl.SSLContext) -> None:
    with (
        trickling(HEAD, tls=serving_tls) as host,
        pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        HttpSink(f"https://{host}").send(EVENT, {}, 5)


def test_https_ends_at_the_timeout_too(serving_tls: ssl.SSLContext, certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    with trickling(HEAD, b"x" * 500, tls=serving_tls) as host:
        began = time.monotonic()
        with pytest.raises(TransportError, match="timed out"):
            HttpSink(f"https://{host}", trusting).send(EVENT, {}, 1.2)
        assert time.monotonic() - began < 2


def test_https_is_on_port_443_and_http_on_port_80(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(address: tuple[str, int], *_: object) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    for url in ("https://sink.example", "http://sink.example"):
        with pytest.raises(TransportError):
            HttpSink(url).send(EVENT, {}, 5)
    assert asked == [("sink.example", 443), ("sink.example", 80)]


@pytest.mark.parametrize(
    ("end", "path"), [("/in?key=a%20b&x", "/in?key=a%20b&x"), ("?x=1", "/?x=1"), ("", "/")]
)
def test_a_query_string_is_kept(end: str, path: str) -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url + end)
        sink.send(EVENT, {}, 5)
        sink.close()
        assert receiver.requests[0].path == path


SERVICE = {"kind": "Service", "name": "stage"}


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        (None, "http://host:1/"),
        ("/in?x=1", "http://host:1/in?x=1"),
        ("in", "http://host:1/in"),
        ("?x=1", "http://host:1/?x=1"),
    ],
)
def test_a_path_beside_a_ref_is_resolved_against_its_address(uri: str | None, address: str) -> None:
    destination = destination_of({"ref": SERVICE} | ({"uri": uri} if uri else {}), "ns")
    assert isinstance(destination, Reference)
    assert destination.at("http://host:1/") == address


def test_an_address_needs_no_ref() -> None:
    assert destination_of({"uri": "https://host/in?x=1"}, "ns") == "https://host/in?x=1"


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ({"uri": "/in"}, "is no address"),
        ({"uri": "ftp://host/in"}, "is no address"),
        ({"uri": "https:///in"}, "is no address"),
        ({"ref": SERVICE, "uri": "https://host/in"}, "beside a ref it is a path"),
        ({"ref": SERVICE, "uri": "//host/in"}, "beside a ref it is a path"),
        ({"ref": {"kind": "KafkaSink", "name": "dlq"}, "uri": "/in"}, "leads past the KafkaSink"),
    ],
)
def test_a_destination_that_knative_refuses_is_refused(destination: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        destination_of(destination, "ns")


def test_a_connection_is_kept_for_the_next_event() -> None:
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        for _ in range(3):
            sink.send(EVENT, {}, 5)
        sink.close()
        assert len({request.client for request in receiver.requests}) == 1


def test_a_connection_that_was_idle_too_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sink, "IDLE_SECONDS", -1.0)
    with event_receiver() as receiver:
        sink = HttpSink(receiver.url)
        for _ in range(2):
            sink.send(EVENT, {}, 5)
        sink.close()
        assert len({request.client for request in receiver.requests}) == 2


def test_closing_ends_a_request_in_flight() -> None:
    arrived, release = threading.Event(), threading.Event()

    def never(_: Request) -> Answer:
        arrived.set()
        release.wait(10)
        return Answer()

    with event_receiver(never) as receiver:
        sink = HttpSink(receiver.url)

        def close() -> None:
            arrived.wait(5)
            sink.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(TransportError):
            sink.send(EVENT, {}, 30)
        closer.join()
        release.set()
        with pytest.raises(TransportError, match="closed"):
            sink.send(EVENT, {}, 30)
