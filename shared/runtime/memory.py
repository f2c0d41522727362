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

# PyGithub signs as a GitHub App with it; we come with a token. It would load cryptography.
ON_FIRST_USE = ("jwt",)
NEVER = {
    # Without pyOpenSSL it fails, but loads cryptography first; Python's own ssl is used then.
    "pymongo.pyopenssl_context": "OpenSSL",
    # requests guesses a text's encoding by it where the server tells none: what we read is JSON, in UTF-8.
    "charset_normalizer": "chardet",
}


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
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def load_less() -> None:
    """To be called before the first client library is imported."""
    for name in ON_FIRST_USE:
        sys.modules.setdefault(name, _LoadedOnFirstUse(name))
    for name, needed in NEVER.items():
        if importlib.util.find_spec(needed) is None:
            # None there is Python's own way to say that a module cannot be imported.
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
