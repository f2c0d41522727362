"""Prometheus' query API, at a stated time or over a range of it. VictoriaMetrics and Mimir speak it too."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from operator import lt
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import requests
import simdjson
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError, ReadTimeoutError

from shared.adapters import token_file
from shared.adapters.bounded_requests import BoundedAdapter
from shared.contracts.errors import Temporary
from shared.contracts.prometheus import (
    AT_ONCE,
    Build,
    Curve,
    QueryFailed,
    QueryRefused,
    QueryThrottled,
    QueryTooLarge,
    QueryTooSlow,
    Series,
)

log = logging.getLogger(__name__)

R = TypeVar("R")
Read = Callable[[Any, list[bytes]], list[R]]
"""Rows of an answer's data; the values of its curves are apart, as text, and in their place is which."""

CONNECT_SECONDS = 5.0
# More than a query's own time, for the server's answer that it took too long.
ANSWER_SECONDS = 2.0
_CHUNK = 1 << 18  # bytes of an answer that are taken at once, if so many are there
# Of an answer, compressed or not; taken apart it is several times as much. Of what is more, halves are asked
# for.
MOST_BYTES = 1 << 28
# Of a query and of a server's answer, so much is shown in an error: they can be long.
SHOWN = 300
# What servers say of a query that reads too much or is too long, in this order: Prometheus; VictoriaMetrics,
# which names the flag, except where its memory is the limit; Mimir; Cortex, as which Amazon's answers, whose
# limits are of numbers ("hit the max number of chunks") and sizes ("hit the aggregated data size"); Thanos.
_TOO_LARGE = re.compile(
    r"too many samples|-search\.max|not enough memory for processing|the query exceeded"
    r"|the query hit the (max|aggregated)|raw query size in bytes exceeds"
    r"|query response size exceeds|exceeded (series|samples|chunks|bytes) limit"
)
_VALUES, _VALUES_END = re.compile(rb'"values"\s*:\s*\[\s*\['), re.compile(rb"\]\s*\]")
_LOOK_WHAT_IS_THERE = "look whether a login or another server is at this address"
_LOOK_BEFORE = "look at what is before the server"
# In its queue Prometheus has not begun it: more queries, of halves, would only wait beside it.
_TOO_SLOW = re.compile(r"timed? ?out(?! in query queue)|deadline exceeded", re.IGNORECASE)
# Some say so with 422, as of what is too large: VictoriaMetrics, which may name that time's flag, and Mimir.
_TOO_SLOW_IN_422 = re.compile(r": timeout exceeded |context deadline exceeded|query timed out")


class _Answer(NamedTuple):
    response: requests.Response
    body: bytes


class HttpPrometheus:
    """See Prometheus. One pool of connections, made on first use, safe for the threads of a function."""

    def __init__(
        self,
        url: str,
        token: str = "",
        timeout: float = 30.0,
        *,
        token_path: str = "",
        user: tuple[str, str] | None = None,
        tenant: str = "",
        ca_file: str = "",
    ) -> None:
        """`url` may hold a path prefix and credentials; `timeout` in seconds bounds one query.

        `token_path` is a file that has the token, `user` is a name with its password, `ca_file` is in place
        of the authorities that are known anyway.
        """
        self._timeout = timeout
        address = urlsplit(url.rstrip("/"))
        login, _, server = address.netloc.rpartition("@")
        if login:
            name, _, password = login.partition(":")
            user = unquote(name), unquote(password)
        # Errors go into logs and dead letters: the address without what is secret in it.
        self._shown_url = f"{address.scheme}://{server}{address.path}"
        self._api_url = f"{self._shown_url}/api/v1"
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, BoundedAdapter(pool_maxsize=AT_ONCE))
        # Over all threads of the process: a scan shall not be what a shared Prometheus is busy with. Of
        # ranges one, for they take a server's memory: where all their samples are, and several times as much
        # as their text.
        self._places, self._range = threading.BoundedSemaphore(AT_ONCE), threading.Lock()
        # As a session's header it would give way to a .netrc, as a session's `verify` to REQUESTS_CA_BUNDLE.
        self._session.auth = _auth(token, token_path, user)
        self._verify = ca_file or None
        if tenant:
            self._session.headers["X-Scope-OrgID"] = tenant

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        """See Prometheus."""
        return self._read(promql, self._response("query", promql, {"time": _seconds(at)}, timeout), _rows)

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        """See Prometheus."""
        times = {"start": _seconds(begin), "end": _seconds(end), "step": f"{step.total_seconds():.3f}"}
        count = (end - begin) // step + 1
        read = partial(_curves, array("d", ((begin + number * step).timestamp() for number in range(count))))
        if count == 1:  # of a single one it is what `query` is
            return self._read(promql, self._response("query_range", promql, times, timeout), read)
        began = time.monotonic()
        # Each one that is waited for ends in its own time.
        most = -1 if timeout is None else timeout
        if not self._range.acquire(timeout=most):
            raise Temporary(self._text(promql, f"others were under way for all of {_told(most)}"))
        try:
            left = None if timeout is None else max(0.001, timeout - (time.monotonic() - began))
            answer = self._response("query_range", promql, times, left)
        finally:
            self._range.release()
        # While it is taken in, the server finds the next.
        return self._read(promql, answer, read)

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        """See Prometheus."""
        times = {"start": _seconds(begin), "end": _seconds(end)}
        return self._read(matchers, self._response("series", matchers, times, timeout), _labels)

    @property
    def address(self) -> str:
        """Without what is secret in it."""
        return self._shown_url

    def build(self, timeout: float = 5.0) -> Build:
        """Which server answers. Raises nothing: one that does not tell may answer queries all the same."""
        try:
            response = self._session.get(
                f"{self._api_url}/status/buildinfo",
                timeout=timeout,
                allow_redirects=False,
                verify=self._verify,
                stream=True,
            )
            document = _object(_body(response))
        except (requests.RequestException, HTTPError, _Trickled, _TooMuch, Temporary):
            return Build()
        data = document.get("data") if document is not None and response.ok else None
        return _build(response.headers, data if isinstance(data, dict) else {})

    def _response(self, path: str, promql: str, times: dict[str, str], timeout: float | None) -> _Answer:
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        began = time.monotonic()
        if not self._places.acquire(timeout=seconds):
            raise Temporary(
                self._text(promql, f"{AT_ONCE} others were under way for all of {_told(seconds)}")
            )
        try:
            left = max(0.001, seconds - (time.monotonic() - began))
            return self._asked(path, promql, times, left)
        finally:
            self._places.release()

    def _asked(self, path: str, promql: str, times: dict[str, str], seconds: float) -> _Answer:
        # In milliseconds: Prometheus takes no duration like 1e-05s. What VictoriaMetrics and Mimir keep of
        # former answers may lack samples that came late, and what is read now may be kept for good.
        what = "match[]" if path == "series" else "query"
        form = {what: promql, **times, "timeout": f"{max(1, int(seconds * 1000))}ms", "nocache": "1"}
        try:
            # In the body, because the names of a shard's workloads make long queries. A redirect would
            # become a GET without the body: it is told instead of followed.
            response = self._session.post(
                f"{self._api_url}/{path}",
                data=form,
                # The server's own timeout comes first and says more.
                timeout=(min(CONNECT_SECONDS, seconds), seconds + ANSWER_SECONDS),
                # To compress windows costs a server five times what finding them does.
                headers={"Accept-Encoding": "identity", "Cache-Control": "no-store"},
                allow_redirects=False,
                verify=self._verify,
                stream=True,
            )
            return _Answer(response, _body(response))
        except _Trickled as error:
            said = f"no whole answer within {_told(seconds)}: {error}"
            raise self._failed(QueryTooSlow, promql, said) from error
        except _TooMuch as error:
            said = f"an answer of more than {MOST_BYTES >> 20} MiB"
            raise self._failed(QueryTooLarge, promql, said) from error
        except requests.ReadTimeout as error:
            raise self._failed(QueryTooSlow, promql, f"no answer within {_told(seconds)}") from error
        except DecodeError as error:
            said = f"an answer that says to be compressed, and is not so or is broken: {_LOOK_BEFORE}"
            raise self._failed(QueryFailed, promql, said) from error
        except (requests.RequestException, HTTPError) as error:
            if _is_cut_off(error):
                said = "the connection ended before its answer did"
                raise self._failed(QueryFailed, promql, said) from error
            why = _reason(error, min(CONNECT_SECONDS, seconds))
            raise Temporary(f"no Prometheus answers at {self._shown_url}: {why}") from error

    def _read(self, promql: str, answer: _Answer, read: Read[R]) -> list[R]:
        response = answer.response
        body, values = _apart(answer.body)
        document = _object(body)
        # Some proxies have 200 for whatever is behind them.
        is_error = document is not None and document.get("status") == "error"
        if not response.ok or response.is_redirect or is_error:
            raise self._failure(promql, answer, document)
        if document is None or document.get("status") != "success":
            raise self._failed(
                QueryFailed, promql, f"status {response.status_code} with {_no_answer(answer)}"
            )
        try:
            # Warnings are about the query, or tell that a store has not answered; VictoriaMetrics says
            # isPartial.
            warnings = [str(text) for text in document.get("warnings") or ()]
            lacking = [text for text in warnings if not text.startswith("PromQL ")]
            if lacking or document.get("isPartial"):
                said = "; ".join(lacking) or "isPartial"
                raise self._failed(QueryFailed, promql, f"the answer is incomplete: {said}")
            for text in [*warnings, *(document.get("infos") or ())]:
                log.warning("Prometheus: %s", text, extra={"promql": promql})
            return read(document["data"], values)
        except _NotFinite as error:
            said = f"{error}, which is no usage and no setting: look at who exposes or records that"
            raise self._failed(QueryFailed, promql, said) from error
        except (KeyError, TypeError, ValueError, IndexError) as error:
            said = f"unexpected JSON: {type(error).__name__}: {error}"
            raise self._failed(QueryFailed, promql, said) from error

    def _failed(self, kind: type[QueryFailed], promql: str, what: str) -> QueryFailed:
        return kind(self._text(promql, what), promql)

    def _failure(self, promql: str, answer: _Answer, document: dict[str, Any] | None) -> Temporary:
        response = answer.response
        status = response.status_code
        said = f"status {status}"
        if document is not None and "error" in document:
            said = f"{said}: {document.get('errorType', 'error')}: {document['error']}"
        kind = _kind(status, said)
        if document is None and response.headers.get("Content-Type", "").startswith("text/plain"):
            # A page of a proxy is of no use, but this is what VictoriaMetrics says of its queue.
            said = f"{said}: {answer.body.decode(errors='replace').strip()}"
        if status in {429, 503} and kind in {QueryThrottled, QueryFailed}:
            said = f"{said}; try again later"
        match status:
            case 401 | 403:
                return self._elsewhere(
                    f"{said}: PROMETHEUS_TOKEN (or PROMETHEUS_TOKEN_FILE), or PROMETHEUS_USERNAME with"
                    " PROMETHEUS_PASSWORD, or PROMETHEUS_TENANT is missing or has no right to query"
                )
            case _ if response.is_redirect:
                # As to https, or with a path before it; or it is a login, which may have ours in its query.
                place = urljoin(f"{self._shown_url}/", response.headers["Location"])
                address, api, _ = place.partition("?")[0].partition("/api/v1/")
                what = f"give {address}" if api else _LOOK_WHAT_IS_THERE
                return self._elsewhere(f"{said}: redirected to {place}; {what}")
            case 404:
                return self._elsewhere(f"{said}: no Prometheus is at this address, to which we add /api/v1")
            case _:
                return self._failed(kind, promql, said)

    def _elsewhere(self, what: str) -> Temporary:
        """What has nothing to do with the query, which is not told then."""
        return Temporary(f"Prometheus {self._shown_url}: {_ends(what)}")

    def _text(self, promql: str, what: str) -> str:
        return f"Prometheus {self._shown_url}: {_ends(what)} (query: {_short(promql)})"


def _kind(status: int, said: str) -> type[QueryFailed]:
    """What a server that was asked for this query means by it."""
    match status:
        case 413 | 414:
            return QueryTooLarge
        case 422 if _TOO_SLOW_IN_422.search(said):
            return QueryTooSlow
        case 400 | 422:
            return QueryTooLarge if _TOO_LARGE.search(said) else QueryRefused
        case 429:
            return QueryThrottled
        case 500 | 503 | 504 if status == 504 or _TOO_SLOW.search(said):
            return QueryTooSlow
        case _:
            return QueryFailed


def _auth(token: str, token_path: str, user: tuple[str, str] | None) -> AuthBase | None:
    if token_path:
        return _BearerOfFile(token_path)
    return _Bearer(token) if token else user and _basic(*user)


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _BearerOfFile(AuthBase):
    """The token that is there as a request is sent: the one before it may have expired."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        try:
            return _Bearer(token_file.read(self._path))(request)
        except ValueError as error:
            raise Temporary(f"PROMETHEUS_TOKEN_FILE: {error}") from None


def _basic(name: str, password: str) -> AuthBase:
    """In UTF-8, as servers read it: of a text, requests would send Latin-1."""
    return HTTPBasicAuth(name.encode(), password.encode())


class _NotFinite(Exception):
    """Nothing that is asked about is one: to leave it out would be to read on from an incomplete answer."""

    def __init__(self, value: float, labels: Mapping[str, str]) -> None:
        told = ", ".join(f'{name}="{text}"' for name, text in sorted(labels.items()))
        super().__init__(f"{str(value).replace('nan', 'NaN').replace('inf', 'Inf')} for {{{told}}}")


class _Trickled(Exception):
    """How much of an answer had come when its time was over."""


class _TooMuch(Exception):
    """More came than MOST_BYTES."""


def _body(response: requests.Response) -> bytes:
    """All of it. Raises _Trickled where its time is over before, _TooMuch, and what urllib3 does."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := response.raw.read1(_CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                response.close()
                raise _TooMuch
    except ReadTimeoutError as error:
        raise _Trickled(f"{size:,} bytes of it had come") from error
    return b"".join(parts)


def _is_cut_off(error: Exception) -> bool:
    """There was a connection, and it ended without an answer or in the midst of one."""
    return any(isinstance(each, ProtocolError) for each in (error, next(iter(error.args), None)))


def _reason(error: Exception, seconds: float) -> str:
    """Why there is no connection, in the system's words: requests wraps them four times."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {_told(seconds)}"
    if isinstance(error, requests.exceptions.InvalidURL):
        return "this is no address"
    if untrusted := re.search(r"certificate verify failed: ([^(']+)", str(error)):
        return f"its certificate is not trusted ({untrusted[1].strip()}); see PROMETHEUS_CA_FILE"
    if re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", str(error)):
        return "it speaks no TLS; give the address that begins with http://"
    found = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", str(error))
    told = found[1].lower() if found else _short(f"{type(error).__name__}: {error}")
    if isinstance(error, requests.exceptions.ProxyError):
        # It is not the address that is shown that could not be reached.
        return f"{told}, of the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names; see NO_PROXY"
    return told


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _ends(text: str) -> str:
    """Its beginning and end: VictoriaMetrics quotes the query before it says what is wrong with it."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"


def _apart(body: bytes) -> tuple[bytes, list[bytes]]:
    """An answer without the values of its curves, and these, for json takes four times as long for them.

    A quote within a label is escaped, so nothing there looks like values.
    """
    values: list[bytes] = []
    rest: list[bytes] = []
    at = 0
    # bytes.find passes over values many times as fast as a regular expression does.
    while (place := body.find(b'"values"', at)) >= 0:
        begin = _VALUES.match(body, place)
        if begin is None:  # a label of that name, or no values
            rest.append(body[at : place + 8])
            at = place + 8
            continue
        first, last, end = begin.end(), body.find(b"]]", begin.end()), 2
        if last < 0 or body.find(b"{", first, last) >= 0:  # written with spaces: this is another curve's end
            spaced = _VALUES_END.search(body, first)
            if spaced is None:
                break  # it ends in their midst, and is no JSON
            last, end = spaced.start(), spaced.end() - spaced.start()
        rest += (body[at:place], b'"values":%d' % len(values))
        values.append(body[first:last])
        at = last + end
    return b"".join((*rest, body[at:])), values


def _no_answer(answer: _Answer) -> str:
    """What came in place of an answer, and where to look."""
    kind = answer.response.headers.get("Content-Type", "no content type")
    if "html" in kind:
        return f"{kind}, not its JSON: {_LOOK_WHAT_IS_THERE}"
    if "json" in kind and _object(answer.body) is None:
        return f"{kind} of {len(answer.body):,} bytes, cut short or broken: {_LOOK_BEFORE}"
    return f"{kind}, not its JSON"


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # the latter of brackets within thousands of brackets
        return None
    return document if isinstance(document, dict) else None


def _build(headers: Mapping[str, str], data: Mapping[str, Any]) -> Build:
    try:
        clock = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        clock = None
    if clock is not None and clock.tzinfo is None:  # -0000 says that it is UTC, of nowhere in particular
        clock = clock.replace(tzinfo=UTC)
    version = str(data["version"]) if data.get("version") else None
    if "X-Server-Hostname" in headers:
        # VictoriaMetrics' own header; it tells some Prometheus' version, for Grafana to be content.
        return Build("VictoriaMetrics", None, clock)
    if "application" in data:  # "Grafana Mimir"
        return Build(str(data["application"]), version, clock)
    return Build("Prometheus" if version else None, version, clock)


def _told(seconds: float) -> str:
    """0.1 s of 0.0999: of what was given, a place that was waited for took some. Not 0 s, be it less."""
    return f"{max(0.01, round(seconds, 2)):g} s"


def _seconds(moment: datetime) -> str:
    return f"{moment.timestamp():.3f}"


def _rows(data: dict[str, Any], _values: list[bytes]) -> list[Series]:
    kind, result = data["resultType"], data["result"]
    if kind != "vector":
        raise ValueError(f"a {kind}, where a vector was asked for")
    return [_row(each["metric"], each["value"][1]) for each in result]


def _labels(data: list[dict[str, str]], _values: list[bytes]) -> list[Mapping[str, str]]:
    for each in data:
        _require_labels(each)
    return list(data)


def _curves(grid: array[float], data: dict[str, Any], values: list[bytes]) -> list[Curve]:
    """`grid` has all the times that there can be: most curves have each of them."""
    if data["resultType"] != "matrix":
        raise ValueError(f"a {data['resultType']}, where a matrix was asked for")
    parser = simdjson.Parser()
    return [_curve(parser, each["metric"], values[each["values"]], grid) for each in data["result"]]


def _curve(parser: simdjson.Parser, labels: Mapping[str, str], text: bytes, grid: array[float]) -> Curve:
    """Of `1700000000,"0.5"],[1700000300,"0.6"`."""
    _require_labels(labels)
    cells = _numbers(parser, text.translate(None, b'[]"'))
    if len(cells) % 2:
        raise ValueError("a time without a value")
    times, values = cells[::2], cells[1::2]
    if len(times) == len(grid) and times[0] == grid[0] and times[-1] == grid[-1]:
        times = grid  # one for all curves
    elif not all(map(lt, times, times[1:])):
        raise ValueError("times that are not in their order, or are there twice")
    if not math.isfinite(sum(values)):
        for value in values:
            _require_finite(value, labels)
    return Curve(labels, times, values)


def _numbers(parser: simdjson.Parser, text: bytes) -> array[float]:
    """Of numbers between commas."""
    try:
        numbers = parser.parse(b"[%b]" % text)
        assert isinstance(numbers, simdjson.Array)
        return array("d", bytes(numbers.as_buffer(of_type="d")))
    except (ValueError, RuntimeError):
        # JSON has no NaN and nothing infinite, and simdjson no integer of 21 digits.
        return array("d", map(float, text.split(b",")))


def _row(labels: Mapping[str, str], text: str) -> Series:
    value = float(text)
    _require_labels(labels)
    _require_finite(value, labels)
    return Series(labels, value)


def _require_finite(value: float, labels: Mapping[str, str]) -> None:
    if not math.isfinite(value):
        raise _NotFinite(value, labels)


def _require_labels(labels: object) -> None:
    if not isinstance(labels, dict):
        raise TypeError("something else than labels")
