"""Settings: environment variables, typed, read once, printed with their secrets masked.

pydantic-settings would do the same, but its import alone costs a function two thirds of its start; a
model with the variables' names as aliases is all that is needed here.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from shared.contracts.errors import BadSetting

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


def _http_url(value: str) -> str:
    # Without the value in its words: there may be a password in it.
    if not value.startswith(("http://", "https://")):
        raise ValueError("must be an address that begins with http:// or https://")
    if not re.fullmatch(_HTTP_URL, value):
        raise ValueError("must be an address as http://HOST:PORT/PATH, with a PORT from 1 to 65535")
    return value.rstrip("/")


def _host_alone(value: str) -> str:
    if re.search("[/@]", value.partition("//")[2]):
        raise ValueError("must be an address as http://HOST:PORT: neither a path nor a user can be in it")
    return value


def _mongodb_uri(value: SecretStr) -> SecretStr:
    if not re.fullmatch(_MONGODB_URI, value.get_secret_value()):
        raise ValueError(
            "no address as mongodb://USER:PASSWORD@HOST:PORT or mongodb+srv://HOST;"
            " in a password, : / ? # @ and % are written as %3A %2F %3F %23 %40 %25"
        )
    return value


def _labels(value: str) -> str:
    """As PromQL's matchers: `cluster="eu-1", env="prod"`."""
    matchers: dict[str, str] = {}
    rest = value.strip()
    while rest:
        found = re.match(rf"{_LABEL}(?:,|$)", rest, re.ASCII)
        if found is None or found["name"] == "__name__":
            raise ValueError(f'{value!r} is not labels as cluster=eu-1 or cluster="eu-1",env="prod"')
        if found["name"] in matchers:
            raise ValueError(f"{found['name']} is there twice, and a series has one of it")
        # JSON and PromQL agree on the escapes that names have.
        plain = found["plain"] or re.sub(r"\\(.)", r"\1", found["quoted"])
        matchers[found["name"]] = json.dumps(plain, ensure_ascii=False)
        rest = rest[found.end() :]
    return ", ".join(f"{name}={text}" for name, text in matchers.items())


def _certificates(value: str) -> str:
    if value:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
        except ssl.SSLError:
            raise ValueError(f"{value} holds no certificates (PEM)") from None
        except OSError as error:
            raise ValueError(f"{value}: {(error.strerror or 'cannot be read').lower()}") from None
    return value


def _one_word(value: SecretStr) -> SecretStr:
    # Without the value in its words; what a header cannot hold would be quoted by whoever sends it.
    if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
        raise ValueError("has a space, a line's end or another character in it that no token has")
    return value


def _fits(pattern: str, words: str) -> AfterValidator:
    """A text that matches the whole pattern; `words` say to a person what is expected."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {words}")
        return value

    return AfterValidator(check)


@dataclass(frozen=True)
class Written:
    """How people write a setting's number: `10m`, `32Mi`."""

    form: Callable[[int], str]


def as_written(field: FieldInfo, value: object) -> str:
    """A setting's value in the form in which its variable takes it; secrets masked."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int):
        form = next((each.form for each in field.metadata if isinstance(each, Written)), str)
        return form(value)
    return str(value)


_PASSWORD = re.compile(r"(?<=://)([^:/@]*):.*@")


class SecretAddress(SecretStr):
    """An address of which all may be seen but the passwords in it."""

    def _display(self) -> str:
        shown = _PASSWORD.sub(r"\1:***@", self.get_secret_value())
        return re.sub(r"(?i)((?:password|token)[^=:&,]*[=:])[^&,]*", r"\1***", shown)


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Settings(BaseModel):
    """What every stage needs: its own name in events and the logs' level."""

    # defer_build: of all these classes a stage builds only its own, when it reads its settings.
    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True, defer_build=True)

    cluster: Annotated[
        str, _fits(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name: letters, digits, . _ and -")
    ] = Field("local", alias="KUBEFINOPS_CLUSTER", description="this cluster's name in every event")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="KUBEFINOPS_LOG_LEVEL", description="the least severe level that is logged"
    )

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings in `environment` (default: the process's own); an empty variable counts as unset.

        Raises:
            BadSetting: names every variable that is wrong, and what is wrong with it.
        """
        source = os.environ if environment is None else environment
        names = {str(field.alias) for field in cls.model_fields.values()}
        try:
            return cls.model_validate({name: source[name] for name in names if source.get(name)})
        except ValidationError as error:
            # pydantic names a default that is wrong by its field.
            variables = {name: str(field.alias) for name, field in cls.model_fields.items()}
            wrong = "; ".join(
                f"{variables.get(str(item['loc'][0]), item['loc'][0])}: {said(item)}"
                for item in error.errors(include_url=False, include_input=False)
                # What would be taken from a setting that is wrong is not wrong itself.
                if item["type"] != "default_factory_not_called"
            )
            raise BadSetting(f"setting {wrong}") from None

    def shown(self) -> dict[str, str]:
        """Variable to value as it would be written there, secrets masked."""
        return {
            # A password may stand in an address too, where a setting takes one.
            str(field.alias): _PASSWORD.sub(r"\1:***@", as_written(field, getattr(self, name)))
            for name, field in type(self).model_fields.items()
        }


def said(item: ErrorDetails) -> str:
    """One error of pydantic's, for a person."""
    if item["type"] in ("bool_parsing", "bool_type"):
        return "must be true or false"
    return item["msg"].removeprefix("Value error, ")


class KafkaSettings(Settings):
    kafka: Annotated[str, _fits(_KAFKA_SERVERS, "host:port (1 to 65535), or several separated by commas")] = (
        Field(
            "localhost:9092",
            alias="KAFKA_BOOTSTRAP_SERVERS",
            description="Kafka brokers, host:port, separated by commas",
        )
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", alias="KAFKA_SECURITY_PROTOCOL", description="how the brokers are spoken to"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", alias="KAFKA_SASL_MECHANISM", description="with SASL: the mechanism"
    )
    kafka_username: str = Field("", alias="KAFKA_USERNAME", description="with SASL: the user")
    kafka_password: SecretStr = Field(
        SecretStr(""), alias="KAFKA_PASSWORD", description="with SASL: the password"
    )

    @field_validator("kafka_username", "kafka_password")
    @classmethod
    def _is_there_with_sasl(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        protocol = info.data.get("kafka_security_protocol", "")
        if protocol.startswith("SASL") and not value:
            raise ValueError(f"must be set with KAFKA_SECURITY_PROTOCOL={protocol}")
        return value


class MongoSettings(Settings):
    mongodb: Annotated[SecretAddress, AfterValidator(_mongodb_uri)] = Field(
        SecretAddress("mongodb://localhost:27017"), alias="MONGODB_URI", description="MongoDB's address"
    )
    mongodb_database: Annotated[
        str, _fits(r"[A-Za-z0-9_-]{1,38}", "a database's name: letters, digits, - and _, at most 38")
    ] = Field("kubefinops", alias="MONGODB_DATABASE", description="its database")


class ObjectStoreSettings(Settings):
    s3_endpoint: Annotated[HttpUrl, AfterValidator(_host_alone)] = Field(
        "http://localhost:9000", alias="S3_ENDPOINT", description="MinIO or any other S3 server"
    )
    s3_access_key: str = Field("minioadmin", alias="S3_ACCESS_KEY", description="its access key")
    s3_secret_key: SecretStr = Field(
        SecretStr("minioadmin"), alias="S3_SECRET_KEY", description="its secret key"
    )
    s3_bucket: Annotated[
        str, _fits(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name: 3 to 63 of a-z, 0-9, . and -")
    ] = Field(
        "kubefinops",
        alias="S3_BUCKET",
        description="the bucket (with object lock) of reports and audit records",
    )
    s3_region: str = Field("us-east-1", alias="S3_REGION", description="the bucket's region")
    retention_mode: Literal["GOVERNANCE", "COMPLIANCE"] = Field(
        "GOVERNANCE", alias="KUBEFINOPS_RETENTION_MODE", description="object lock of what is written"
    )
    retention_days: int = Field(
        365,
        alias="KUBEFINOPS_RETENTION_DAYS",
        ge=1,
        le=36500,  # a day that far off is still a date
        description="days for which objects are locked",
    )


class PrometheusSettings(Settings):
    prometheus: HttpUrl = Field(
        "http://localhost:9090", alias="PROMETHEUS_URL", description="Prometheus' address"
    )
    prometheus_token: Annotated[SecretStr, AfterValidator(_one_word)] = Field(
        SecretStr(""), alias="PROMETHEUS_TOKEN", description="bearer token, where it wants one"
    )
    prometheus_username: str = Field(
        "", alias="PROMETHEUS_USERNAME", description="user, where it wants basic authentication"
    )
    prometheus_password: SecretStr = Field(
        SecretStr(""), alias="PROMETHEUS_PASSWORD", description="the user's password"
    )
    prometheus_tenant: Annotated[str, _fits(r"[\x21-\x7e]*", "a tenant's name")] = Field(
        "", alias="PROMETHEUS_TENANT", description="tenant, where Mimir wants one (X-Scope-OrgID)"
    )
    prometheus_ca_file: Annotated[str, AfterValidator(_certificates)] = Field(
        "",
        alias="PROMETHEUS_CA_FILE",
        description="file (PEM) of the authority that signed its certificate, where none that is known did",
    )
    prometheus_labels: Annotated[str, AfterValidator(_labels)] = Field(
        "",
        alias="PROMETHEUS_LABELS",
        description="labels of this cluster's series, where several are in one Prometheus: cluster=eu-1",
    )
    history: Annotated[int, Field(ge=1, le=90)] = Field(
        14, alias="KUBEFINOPS_HISTORY_DAYS", description="days of usage that a proposal rests on"
    )

    @field_validator("prometheus_token", "prometheus_username")
    @classmethod
    def _is_the_only_credential(cls, value: str | SecretStr, info: ValidationInfo) -> str | SecretStr:
        if value and "@" in info.data.get("prometheus", "").partition("//")[2].partition("/")[0]:
            raise ValueError("cannot be set where PROMETHEUS_URL has a user in it")
        if value and info.data.get("prometheus_token"):
            raise ValueError("cannot be set with PROMETHEUS_TOKEN")
        return value

    @field_validator("prometheus_password")
    @classmethod
    def _belongs_to_a_user(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # What was wrong with the user has been told.
        if "prometheus_username" in info.data and bool(value) != bool(info.data["prometheus_username"]):
            raise ValueError("must be set with PROMETHEUS_USERNAME, and only with it")
        return value


class GitHostSettings(Settings):
    github: HttpUrl = Field(
        "https://api.github.com",
        alias="GITHUB_URL",
        description="the REST API; GitHub Enterprise: https://HOST/api/v3",
    )
    github_token: SecretStr = Field(
        SecretStr(""),
        alias="GITHUB_TOKEN",
        description="a token that may push branches and open pull requests",
    )


class GitHostWriteSettings(GitHostSettings):
    github_write_pause: Annotated[float, Field(ge=0, le=60)] = Field(
        1.0,
        alias="GITHUB_WRITE_PAUSE_SECONDS",
        description="seconds between two writes; GitHub asks for one",
    )


class ArgoCDSettings(Settings):
    argocd: HttpUrl = Field("http://localhost:8080", alias="ARGOCD_URL", description="Argo CD's API server")
    argocd_token: SecretStr = Field(
        SecretStr(""), alias="ARGOCD_TOKEN", description="token of an account that may get applications"
    )
