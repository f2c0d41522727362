"""Settings: environment variables, typed, read once, printed with their secrets masked.

Without pydantic, of which the contracts are made: until a function is ready it needs nothing but settings,
and pydantic's import takes 60 to 90 ms, where an empty function is ready after some 200. This module takes
some 10, and with it a stage's main.py 15 to 20 instead of 90 to 115.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal, Self, TypeVar, get_args

from shared.adapters import token_file
from shared.contracts.errors import BadSetting

T = TypeVar("T")
N = TypeVar("N", int, float, Decimal)

# Patterns are compiled when a setting is read: most stages import more of these classes than they read.
_PORT = r"(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^][/?#@:,\s]+)"
_HTTP_URL = rf"https?://(?:[^/?#\s]*@)?{_HOST}(?::{_PORT})?(?:/[^?#\s]*)?"
_KAFKA_SERVERS = rf"[^\s,:]+:{_PORT}(?:,[^\s,:]+:{_PORT})*"
# As pymongo reads it, whose import would cost a function's start more than all of this module. Stricter in
# one thing: an @ after the first / says that a password holds both, and a half of it would become the host.
_MONGODB_URI = (
    r"mongodb(?P<srv>\+srv)?://(?:(?:[^:/?@%]|%[0-9A-Fa-f]{2})+(?::(?:[^:/?@%]|%[0-9A-Fa-f]{2})*)?@)?"
    rf"{_HOST}(?(srv)|(?::{_PORT})?(?:,{_HOST}(?::{_PORT})?)*)"
    r'(?:/[^/?@ "$]*)?(?:\?(?:[^=]+=.*)?)?'
)
# One of a list: name=value or name="value"; the value has no operator of another matcher at its beginning.
_LABEL = r'\s*(?P<name>[A-Za-z_]\w*)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)+)"|(?P<plain>[^~"\s,][^",]*?))\s*'


class Secret:
    """A text that is masked where it is printed."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        return "**********" if self else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class SecretAddress(Secret):
    """An address of which all may be seen but the passwords in it."""

    def __str__(self) -> str:
        shown = _masked(self.get_secret_value())
        return re.sub(r"(?i)((?:password|token)[^=:&,]*[=:])[^&,]*", r"\1***", shown)


def _masked(address: str) -> str:
    return re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", address)


# Parsers. Each makes a value of a variable's text, which is not empty, or raises ValueError with what is
# wrong with it: without the text in its words, where there may be a password in it.


def boolean(text: str) -> bool:
    if text.lower() in {"true", "t", "yes", "y", "on", "1"}:
        return True
    if text.lower() in {"false", "f", "no", "n", "off", "0"}:
        return False
    raise ValueError("must be true or false")


def whole(text: str) -> int:
    """60.0 is one too."""
    return int(re.sub(r"\.0+\s*$", "", text))


def number(kind: Callable[[str], N], least: int, most: int | None = None) -> Callable[[str], N]:
    """A number from `least` to `most`, both included; its kind is whole, float or Decimal."""
    what = "a whole number" if kind is whole else "a number"
    bounds = f", at least {least}" if most is None else f" from {least} to {most}"

    def parse(text: str) -> N:
        with suppress(ValueError, ArithmeticError):
            value = kind(text)
            if least <= value and (most is None or value <= most):
                return value
        raise ValueError(f"must be {what}{bounds}")

    return parse


def one_of(literal: Any) -> Callable[[str], Any]:
    """One of the words of a Literal."""
    words = get_args(literal)

    def parse(text: str) -> Any:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def matching(pattern: str, words: str) -> Callable[[str], str]:
    """A text that matches the whole pattern; `words` say to a person what is expected."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {words}")
        return text

    return parse


def http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be an address that begins with http:// or https://")
    if not re.fullmatch(_HTTP_URL, text):
        raise ValueError(
            "must be an address as http://HOST:PORT/PATH, with a PORT from 1 to 65535, and neither ? nor #"
        )
    return text.rstrip("/")


def _host_alone(text: str) -> str:
    url = http_url(text)
    if re.search("[/@]", url.partition("//")[2]):
        raise ValueError("must be an address as http://HOST:PORT: neither a path nor a user can be in it")
    return url


def _mongodb_uri(text: str) -> SecretAddress:
    if not re.fullmatch(_MONGODB_URI, text):
        raise ValueError(
            "no address as mongodb://USER:PASSWORD@HOST:PORT or mongodb+srv://HOST;"
            " in a password, : / ? # @ and % are written as %3A %2F %3F %23 %40 %25"
        )
    return SecretAddress(text)


def _labels(text: str) -> str:
    """As PromQL's matchers: `cluster="eu-1", env="prod"`."""
    matchers: dict[str, str] = {}
    rest = text.strip()
    while rest:
        found = re.match(rf"{_LABEL}(?:,|$)", rest, re.ASCII)
        if found is None or found["name"] == "__name__":
            raise ValueError(f'{text!r} is not labels as cluster=eu-1 or cluster="eu-1",env="prod"')
        if found["name"] in matchers:
            raise ValueError(f"{found['name']} is there twice, and a series has one of it")
        # JSON and PromQL agree on the escapes that names have.
        plain = found["plain"] or re.sub(r"\\(.)", r"\1", found["quoted"])
        matchers[found["name"]] = json.dumps(plain, ensure_ascii=False)
        rest = rest[found.end() :]
    return ", ".join(f"{name}={value}" for name, value in matchers.items())


def _certificates(path: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificates (PEM)") from None
    except OSError as error:
        raise ValueError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    return path


def _token(text: str) -> Secret:
    if not re.fullmatch(token_file.PATTERN, text):
        raise ValueError("has a space, a line's end or another character in it that no token has")
    return Secret(text)


def _token_file(path: str) -> str:
    token_file.read(path)
    return path


def as_written(value: object) -> str:
    """A value in the form in which its variable takes it; secrets masked."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@dataclass(frozen=True)
class Variable:
    """An environment variable: how its text becomes a value and a value text, and what it is where unset.

    A default that follows from other settings is a function of the values of those that are declared before.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    description: str
    form: Callable[[Any], str]


def setting(
    variable: str,
    parse: Callable[[str], T],
    default: T | Callable[[Mapping[str, Any]], T],
    description: str,
    form: Callable[[T], str] = as_written,
) -> T:
    """A field of settings, with the variable that it is read from; `read` gives it its value or default."""
    made: T = field(metadata={"variable": Variable(variable, parse, default, description, form)})
    return made


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
RetentionMode = Literal["GOVERNANCE", "COMPLIANCE"]
CLUSTER_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every stage needs: its own name in events and the logs' level."""

    cluster: str = setting(
        "KUBEFINOPS_CLUSTER",
        matching(CLUSTER_NAME, "a name: letters, digits, . _ and -"),
        "local",
        "this cluster's name in every event",
    )
    log_level: LogLevel = setting(
        "KUBEFINOPS_LOG_LEVEL", one_of(LogLevel), "INFO", "the least severe level that is logged"
    )
    # The variables that were set.
    given: frozenset[str] = frozenset()

    @classmethod
    def variables(cls) -> dict[str, Variable]:
        """By the field's name."""
        return {each.name: each.metadata["variable"] for each in fields(cls) if each.metadata}

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings in `environment` (default: the process's own); an empty variable counts as unset.

        Raises:
            BadSetting: names every variable that is wrong, and what is wrong with it.
        """
        source = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        given, wrong = set[str](), dict[str, str]()
        for field_name, variable in cls.variables().items():
            # One that is wrong then counts as unset: what would follow from it is not wrong itself.
            values[field_name] = variable.default(values) if callable(variable.default) else variable.default
            if text := source.get(variable.name):
                given.add(variable.name)
                try:
                    text.encode()  # bytes that are no text are halves of surrogate pairs in Python's
                    values[field_name] = variable.parse(text)
                except UnicodeEncodeError:
                    wrong[variable.name] = "has bytes in it that are no UTF-8"
                except ValueError as error:
                    wrong[variable.name] = str(error)
        settings = cls(given=frozenset(given), **values)
        for name, what in settings.conflicts():
            wrong.setdefault(name, what)
        if wrong:
            raise BadSetting(f"setting {'; '.join(f'{name}: {what}' for name, what in wrong.items())}")
        return settings

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Each variable that does not go with others, and why."""
        yield from ()

    def shown(self) -> dict[str, str]:
        """Variable to value as it would be written there, secrets masked."""
        return {
            # A password may stand in an address too, where a setting takes one.
            variable.name: _masked(variable.form(getattr(self, name)))
            for name, variable in self.variables().items()
        }


@dataclass(frozen=True, kw_only=True)
class KafkaSettings(Settings):
    kafka: str = setting(
        "KAFKA_BOOTSTRAP_SERVERS",
        matching(_KAFKA_SERVERS, "host:port (1 to 65535), or several separated by commas"),
        "localhost:9092",
        "Kafka brokers, host:port, separated by commas",
    )
    kafka_security_protocol: SecurityProtocol = setting(
        "KAFKA_SECURITY_PROTOCOL", one_of(SecurityProtocol), "PLAINTEXT", "how the brokers are spoken to"
    )
    kafka_sasl_mechanism: SaslMechanism = setting(
        "KAFKA_SASL_MECHANISM", one_of(SaslMechanism), "SCRAM-SHA-512", "with SASL: the mechanism"
    )
    kafka_username: str = setting("KAFKA_USERNAME", str, "", "with SASL: the user")
    kafka_password: Secret = setting("KAFKA_PASSWORD", Secret, Secret(""), "with SASL: the password")

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from super().conflicts()
        if self.kafka_security_protocol.startswith("SASL"):
            why = f"must be set with KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol}"
            if not self.kafka_username:
                yield "KAFKA_USERNAME", why
            if not self.kafka_password:
                yield "KAFKA_PASSWORD", why


@dataclass(frozen=True, kw_only=True)
class MongoSettings(Settings):
    mongodb: SecretAddress = setting(
        "MONGODB_URI", _mongodb_uri, SecretAddress("mongodb://localhost:27017"), "MongoDB's address"
    )
    mongodb_database: str = setting(
        "MONGODB_DATABASE",
        matching(r"[A-Za-z0-9_-]{1,38}", "a database's name: letters, digits, - and _, at most 38"),
        "kubefinops",
        "its database",
    )


@dataclass(frozen=True, kw_only=True)
class ObjectStoreSettings(Settings):
    s3_endpoint: str = setting(
        "S3_ENDPOINT", _host_alone, "http://localhost:9000", "MinIO or any other S3 server"
    )
    s3_access_key: str = setting("S3_ACCESS_KEY", str, "minioadmin", "its access key")
    s3_secret_key: Secret = setting("S3_SECRET_KEY", Secret, Secret("minioadmin"), "its secret key")
    s3_bucket: str = setting(
        "S3_BUCKET",
        matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name: 3 to 63 of a-z, 0-9, . and -"),
        "kubefinops",
        "the bucket (with object lock) of reports and audit records",
    )
    s3_region: str = setting("S3_REGION", str, "us-east-1", "the bucket's region")
    retention_mode: RetentionMode = setting(
        "KUBEFINOPS_RETENTION_MODE",
        one_of(RetentionMode),
        "GOVERNANCE",
        "object lock of what is written",
    )
    retention_days: int = setting(
        "KUBEFINOPS_RETENTION_DAYS",
        number(whole, 1, 36500),  # a day that far off is still a date
        365,
        "days for which objects are locked",
    )


@dataclass(frozen=True, kw_only=True)
class PrometheusSettings(Settings):
    prometheus: str = setting("PROMETHEUS_URL", http_url, "http://localhost:9090", "Prometheus' address")
    prometheus_token: Secret = setting(
        "PROMETHEUS_TOKEN", _token, Secret(""), "bearer token, where it wants one"
    )
    prometheus_token_file: str = setting(
        "PROMETHEUS_TOKEN_FILE",
        _token_file,
        "",
        "or the file that has it, read anew for each query: tokens of ServiceAccounts are replaced each hour",
    )
    prometheus_username: str = setting(
        "PROMETHEUS_USERNAME", str, "", "user, where it wants basic authentication"
    )
    prometheus_password: Secret = setting("PROMETHEUS_PASSWORD", Secret, Secret(""), "the user's password")
    prometheus_tenant: str = setting(
        "PROMETHEUS_TENANT",
        matching(r"[\x21-\x7e]+", "a tenant's name"),
        "",
        "tenant, where Mimir wants one (X-Scope-OrgID)",
    )
    prometheus_ca_file: str = setting(
        "PROMETHEUS_CA_FILE",
        _certificates,
        "",
        "file (PEM) of the authority that signed its certificate, where none that is known did",
    )
    prometheus_labels: str = setting(
        "PROMETHEUS_LABELS",
        _labels,
        "",
        "labels of this cluster's series, where several are in one Prometheus: cluster=eu-1",
    )
    history: int = setting(
        "KUBEFINOPS_HISTORY_DAYS",
        number(whole, 1, 90),
        14,
        "days of usage that is shown, and that requests of Jobs and by percentile rest on; those by the other"
        " strategies rest on 14 of CPU and 28 of memory",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from super().conflicts()
        user = bool(self.prometheus_username)
        tokens = {
            "PROMETHEUS_TOKEN": bool(self.prometheus_token),
            "PROMETHEUS_TOKEN_FILE": bool(self.prometheus_token_file),
        }
        token = next((name for name, is_set in tokens.items() if is_set), None)
        if all(tokens.values()):
            yield "PROMETHEUS_TOKEN_FILE", "cannot be set with PROMETHEUS_TOKEN"
        in_url = "@" in self.prometheus.partition("//")[2].partition("/")[0]
        if token and in_url:
            yield token, "cannot be set where PROMETHEUS_URL has a user in it"
        if user and in_url:
            yield "PROMETHEUS_USERNAME", "cannot be set where PROMETHEUS_URL has a user in it"
        elif user and token:
            yield "PROMETHEUS_USERNAME", f"cannot be set with {token}"
        elif user != bool(self.prometheus_password):
            yield "PROMETHEUS_PASSWORD", "must be set with PROMETHEUS_USERNAME, and only with it"


@dataclass(frozen=True, kw_only=True)
class GitHostSettings(Settings):
    github: str = setting(
        "GITHUB_URL",
        http_url,
        "https://api.github.com",
        "the REST API; GitHub Enterprise: https://HOST/api/v3",
    )
    github_token: Secret = setting(
        "GITHUB_TOKEN", Secret, Secret(""), "a token that may push branches and open pull requests"
    )


@dataclass(frozen=True, kw_only=True)
class GitHostWriteSettings(GitHostSettings):
    github_write_pause: float = setting(
        "GITHUB_WRITE_PAUSE_SECONDS",
        number(float, 0, 60),
        1.0,
        "seconds between two writes; GitHub asks for one",
    )


@dataclass(frozen=True, kw_only=True)
class ArgoCDSettings(Settings):
    argocd: str = setting("ARGOCD_URL", http_url, "http://localhost:8080", "Argo CD's API server")
    argocd_token: Secret = setting(
        "ARGOCD_TOKEN", Secret, Secret(""), "token of an account that may get applications"
    )
