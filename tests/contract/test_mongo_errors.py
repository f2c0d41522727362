"""What is said where no MongoDB can be used."""

from __future__ import annotations

import pytest

from shared.adapters.mongo import Mongo
from shared.contracts.errors import BadSetting, Temporary


def test_nobody_there_is_one_line_with_the_host_and_the_variable_but_no_password() -> None:
    mongo = Mongo("mongodb://me:secret@127.0.0.1:1", "kubefinops")
    with pytest.raises(Temporary) as raised:
        mongo.ping()
    mongo.close()
    assert str(raised.value) == "no MongoDB answers at 127.0.0.1:1 (MONGODB_URI): Connection refused"


@pytest.mark.parametrize("uri", ["mongodb://me:se/cret@host:1", "mongodb://me:p@ss@host:1"])
def test_an_address_that_is_none_is_not_repeated(uri: str) -> None:
    with pytest.raises(BadSetting) as raised:
        Mongo(uri, "kubefinops").ping()
    assert str(raised.value).startswith("MONGODB_URI: no address")
    assert uri not in str(raised.value)
    assert "cret" not in str(raised.value)
