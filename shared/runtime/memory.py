"""Keeps a function's processes small: pages stay shared after the fork, and unused libraries stay unloaded.

Both are worth some 6 and 13 MiB a function.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
import warnings
from types import ModuleType

# PyGithub signs as a GitHub App with the one, which would load cryptography, and encrypts a repository's
# secrets with the other; we come with a token, and have none to encrypt. By module: what is imported from it.
ON_FIRST_USE = {"jwt": (), "nacl": ("encoding", "public")}
NEVER = {
    # Without pyOpenSSL it fails, but loads cryptography first; Python's own ssl is used then.
    "pymongo.pyopenssl_context": "OpenSSL",
    # requests guesses a text's encoding by it where the server tells none: what we read is JSON, in UTF-8.
    "charset_normalizer": "chardet",
}

# https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD, M_ARENA_MAX = -1, -8


def share_pages() -> None:
    """To be called in gunicorn's master before it forks.

    A collection writes to every object that it looks at, and so copies its page; what is there now is
    looked at no more (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.freeze()


class _LoadedOnFirstUse(ModuleType):
    """Stands in `sys.modules` for a module until something of it is asked for.

    importlib's LazyLoader does not serve: another `import` of the module already makes it load.
    """

    def __getattr__(self, name: str) -> object:
        package = self.__name__.partition(".")[0]
        if isinstance(sys.modules.get(package), _LoadedOnFirstUse):
            del sys.modules[package]
        return getattr(importlib.import_module(self.__name__), name)


def load_less() -> None:
    """To be called before the first client library is imported."""
    for name, parts in ON_FIRST_USE.items():
        stub = _LoadedOnFirstUse(name)
        for part in parts:
            setattr(stub, part, _LoadedOnFirstUse(f"{name}.{part}"))
        sys.modules.setdefault(name, stub)
    for name, needed in NEVER.items():
        if importlib.util.find_spec(needed) is None:
            # None there is Python's own way to say that a module cannot be imported.
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
    one_arena()


def one_arena() -> None:
    """Each thread would have one of its own, with what it once needed."""
    import ctypes  # here, because a function is ready before it needs this

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_TRIM_THRESHOLD, 128 * 1024)
