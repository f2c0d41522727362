from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
from shared.runtime.memory import load_less
load_less()
import shared.adapters.github, shared.adapters.mongo, shared.adapters.objectstore
unused = ("cryptography", "charset_normalizer", "jwt.algorithms", "nacl.public")
print(*(name for name in unused if sys.modules.get(name)))
import jwt
print(jwt.decode(jwt.encode({"a": 1}, "k" * 32), "k" * 32, algorithms=["HS256"]))
from base64 import b64encode
from github.PublicKey import encrypt
print(len(encrypt(b64encode(bytes(range(32))).decode(), "secret")) > 40)
"""


def test_clients_load_no_library_that_no_function_uses_and_one_that_is_asked_for_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADED], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["", "{'a': 1}", "True"]


def test_no_function_loads_what_is_heavy() -> None:
    code = (
        "import importlib, pkgutil, sys, functions, shared\n"
        "for package in (functions, shared):\n"
        "    for each in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not each.name.endswith('.main'): importlib.import_module(each.name)\n"
        "print('recommender' in str(list(sys.modules)), 'numpy' in sys.modules, 'rich' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False False\n"
