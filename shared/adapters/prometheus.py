"""Prometheus' query API: instant queries at a stated time. VictoriaMetrics and Mimir speak it too."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from shared.contracts.errors import Temporary, Throttled

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
# More than a query's own time, for the server's answer that it took too long.
ANSWER_SECONDS = 2.0
# Of a query and of a server's answer, so much is shown in an error: they can be long.
SHOWN = 300


@dataclass(frozen=True, slots=True)
class Series:
    """One row of an instant query's answer."""

    labels: Mapping[str, str]
    value: float


class QueryRefused(Temporary):
    """Prometheus understood the request and will not run this query: malformed, or too many samples.

    Temporary on purpose: a server's limits can be raised while KafkaSource retries, and after its last
    try the event lies in the dead letters instead of being lost.
    """


class Prometheus(Protocol):
    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        """The query's value at `at`, without what is no finite number.

        `timeout` in seconds bounds this query, where less is left than the client otherwise gives one.

        Raises:
            QueryRefused: the server will not run it, however often it is asked.
            Throttled: the server asks for less.
            Temporary: it cannot be reached, is late, or does not answer as Prometheus does.
        """
        ...


class HttpPrometheus:
    """See Prometheus. One pool of connections, made on first use, safe for the threads of a function."""

    def __init__(self, url: str, token: str = "", timeout: float = 30.0) -> None:
        """`url` may hold a path prefix and credentials; `timeout` in seconds bounds one query."""
        self._query_url = f"{url.rstrip('/')}/api/v1/query"
        self._timeout = timeout
        address = urlsplit(url)
        # Errors go into logs and dead letters: the address without what is secret in it.
        self._shown_url = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=16))
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        """See Prometheus."""
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        # In milliseconds: Prometheus takes no duration like 1e-05s.
        form = {
            "query": promql,
            "time": f"{at.timestamp():.3f}",
            "timeout": f"{max(1, int(seconds * 1000))}ms",
        }
        try:
            # In the body, because the names of a shard's workloads make long queries. A redirect would
            # become a GET without the body: it is told instead of followed.
            response = self._session.post(
                self._query_url,
                data=form,
                # The server's own timeout comes first and says more.
                timeout=(min(CONNECT_SECONDS, seconds), seconds + ANSWER_SECONDS),
                allow_redirects=False,
            )
        except requests.ReadTimeout as error:
            raise Temporary(self._text(promql, f"no answer within {seconds:g} s")) from error
        except requests.RequestException as error:
            why = _reason(error, min(CONNECT_SECONDS, seconds))
            raise Temporary(f"no Prometheus answers at {self._shown_url}: {why}") from error
        document = _json_object(response)
        if not response.ok or response.is_redirect:
            raise self._failure(promql, response, document)
        if document is None or document.get("status") != "success":
            kind = response.headers.get("Content-Type", "no content type")
            raise self._elsewhere(f"status {response.status_code} with {kind}, not its JSON")
        for text in [*(document.get("warnings") or ()), *(document.get("infos") or ())]:
            log.warning("Prometheus: %s", text, extra={"promql": promql})
        try:
            return _rows(document["data"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            said = f"unexpected JSON: {type(error).__name__}: {error}"
            raise Temporary(self._text(promql, said)) from error

    def _failure(
        self, promql: str, response: requests.Response, document: dict[str, Any] | None
    ) -> Temporary:
        status = response.status_code
        said = f"status {status}"
        if document is not None and "error" in document:
            said = f"{said}: {document.get('errorType', 'error')}: {document['error']}"
        match status:
            case 400 | 422:
                return QueryRefused(self._text(promql, said))
            case 429:
                return Throttled(f"Prometheus {self._shown_url}: {_short(said)}")
            case 401 | 403:
                return self._elsewhere(f"{said}: PROMETHEUS_TOKEN is missing or has no right to query")
            case _ if response.is_redirect:
                place = response.headers.get("Location")
                return self._elsewhere(f"{said}: redirected to {place}; give that address")
            case 404:
                return self._elsewhere(f"{said}: no Prometheus is at this address")
            case _:
                return Temporary(self._text(promql, said))

    def _elsewhere(self, what: str) -> Temporary:
        """What has nothing to do with the query, which is not told then."""
        return Temporary(f"Prometheus {self._shown_url}: {_short(what)}")

    def _text(self, promql: str, what: str) -> str:
        return f"Prometheus {self._shown_url}: {_short(what)} (query: {_short(promql)})"


def _reason(error: requests.RequestException, seconds: float) -> str:
    """Why there is no connection, in the system's words: requests wraps them four times."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {seconds:g} s"
    if isinstance(error, requests.exceptions.InvalidURL):
        return "this is no address"  # its text quotes the credentials in it
    found = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", str(error))
    return found[1].lower() if found else _short(f"{type(error).__name__}: {error}")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _json_object(response: requests.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _rows(data: dict[str, Any]) -> list[Series]:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return _finite({}, result[1])
    if kind != "vector":
        raise ValueError(f"a {kind}, where a vector was asked for")
    return [row for each in result for row in _finite(each["metric"], each["value"][1])]


def _finite(labels: Mapping[str, str], text: str) -> list[Series]:
    """0/0 is NaN, 1/0 is infinite: both mean that there is nothing to tell."""
    value = float(text)
    return [Series(labels, value)] if math.isfinite(value) else []
