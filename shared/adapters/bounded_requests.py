"""What bounded.py has, for requests: who builds on urllib3 alone need not load that."""

from __future__ import annotations

from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool

from shared.adapters.bounded import Http, Https


class BoundedAdapter(HTTPAdapter):
    """For a session: of its requests the read timeout bounds all that comes after the request was sent.

    Where it is over in the midst of a body, that is urllib3's ReadTimeoutError, else requests' ReadTimeout.
    """

    def get_connection_with_tls_context(self, *arguments: Any, **more: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **more)
        # Here, because a proxy's pools come by here too.
        pool.ConnectionCls = Https if isinstance(pool, HTTPSConnectionPool) else Http
        return pool
