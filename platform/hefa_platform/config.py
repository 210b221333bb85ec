"""Settings of the platform: environment (`HEFA_*`), the secrets directory, and the command line on top.

Reading them connects nowhere and opens no data.
"""

import ssl
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT_SEEDS = Path(__file__).resolve().parents[2] / "seeds"

# Who signs in to the database; the names of the roles are hefa_<role>.
Role = Literal["admin", "owner", "ingest", "jobs", "api", "read"]


class ConfigError(Exception):
    """A setting is missing or cannot be used; the text says which and what to do."""


class Settings(BaseSettings):
    """Everything that can be set. One process uses one role, so there is one DSN."""

    model_config = SettingsConfigDict(env_prefix="HEFA_", extra="ignore")

    dsn: SecretStr | None = Field(
        None, description="PostgreSQL DSN of the process's own role; wins over the file dsn_<role> of the secrets."
    )
    mqtt_url: SecretStr | None = Field(
        None,
        description="mqtt://user:password@host:port of ingest, or mqtts://…?ca=FILE&cert=FILE&key=FILE; wins over the "
        "file mqtt_url_ingest.",
    )
    secrets_dir: Path | None = Field(None, description="Directory written by `hefa-platform secrets`.")
    seeds: Path = Field(CHECKOUT_SEEDS, description="Directory of the plant model (seeds).")
    log_level: str = Field(
        "INFO", pattern="(?i)^(debug|info|warning|error)$", description="DEBUG, INFO, WARNING or ERROR."
    )

    api_host: str = Field("127.0.0.1", description="Address of the REST API; 0.0.0.0 opens it to the network.")
    api_port: int = Field(8000, ge=0, le=65535, description="Port of the REST API; 0 takes a free one.")
    statement_timeout_ms: int = Field(
        10_000, ge=100, description="A query of the API that takes longer is given up; more lets one client hold more."
    )

    raw_retention_days: int = Field(
        90,
        ge=2,
        description="Readings older than this are refused (TS_TOO_OLD) and then dropped; rollups stay for ever.",
    )
    disk: Path | None = Field(
        None, description="A folder on the database's disk, where the API or `check storage` sees it: for the forecast."
    )
    receive_maximum: int = Field(
        200,
        ge=1,
        le=65_535,
        description="Messages the broker may send before an answer: about two groups of the writer.",
    )
    group_messages: int = Field(
        100, ge=1, le=1000, description="Messages in one transaction. Keep it at half of what the broker has in flight."
    )
    group_readings: int = Field(20_000, ge=1000, description="Readings in one transaction.")
    tag_quota_per_hour: int = Field(
        500,
        ge=0,
        description="Unknown tags a gateway may register in an hour; beyond it TAG_QUOTA. 0 takes known tags only.",
    )
    edge_limit: int = Field(
        1000, ge=0, description="Gateways the platform registers by itself, those of the model included."
    )
    silence_s: float = Field(
        60.0,
        ge=1,
        description="Seconds without data, while gateways are online, after which a worker is not ready and connects anew.",
    )
    session_expiry_s: int = Field(
        0,
        ge=0,
        description="0: a lost worker's messages come again from the gateways. More: the broker keeps them for this worker.",
    )

    def dsn_of(self, role: Role) -> str:
        """Find the DSN of a role. Raises ConfigError when it is neither set nor in the secrets directory."""
        if self.dsn is not None:
            return self.dsn.get_secret_value()
        return self._secret(f"dsn_{role}", "HEFA_DSN or --dsn")

    @property
    def ingest_mqtt_url(self) -> str:
        """Where ingest subscribes, with its credentials. Raises ConfigError."""
        given = self.mqtt_url.get_secret_value() if self.mqtt_url is not None else None
        url = given or self._secret("mqtt_url_ingest", "HEFA_MQTT_URL or --mqtt-url")
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ConfigError("the MQTT URL must be mqtt://user:password@host:port, or mqtts://… for TLS")
        tls_context(url)  # a wrong path is told at the start
        return url

    def _secret(self, name: str, instead: str) -> str:
        if self.secrets_dir is None:
            raise ConfigError(
                f"no {name}: set {instead}, or name the secrets directory by HEFA_SECRETS_DIR or --secrets"
            )
        path = self.secrets_dir / name
        try:
            return path.read_text("utf-8").strip()
        except OSError as error:
            raise ConfigError(f"no {name}: cannot read {path} ({error.strerror}); set {instead}") from None


def tls_context(url: str) -> ssl.SSLContext | None:
    """Read the certificates that an MQTT URL names: mqtts://…?ca=FILE&cert=FILE&key=FILE, all PEM, each optional.

    None for mqtt://. Without `ca` those vouch for the broker whom the system trusts. Raises ConfigError.
    """
    parts = urlsplit(url)
    try:
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else {}
    except ValueError:
        query = {"?": []}
    files = {name: values[-1] for name, values in query.items() if values}
    if (
        query.keys() - {"ca", "cert", "key"}
        or (query and parts.scheme != "mqtts")
        or ("key" in query and "cert" not in query)
    ):
        raise ConfigError("after the ? of the MQTT URL stand ca=, cert= and key= of its cert, for mqtts:// only")
    if parts.scheme != "mqtts":
        return None
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
        if "cert" in files:
            context.load_cert_chain(
                files["cert"], files.get("key"), password=""
            )  # an encrypted key is an error, no prompt
    except OSError as error:  # ssl's own errors are such too
        named = " ".join(f"{name}={path}" for name, path in files.items())
        raise ConfigError(f"cannot use the certificates {named}: {error}") from None
    return context


def read_seeds(directory: Path) -> dict[str, str]:
    """Read the texts of a plant model, keyed by path relative to `directory`. Raises ConfigError."""
    if not directory.is_dir():
        raise ConfigError(f"no plant model: {directory} is no directory; set HEFA_SEEDS or --seeds")
    texts = {}
    for path in sorted(directory.rglob("*.toml")):
        try:
            texts[path.relative_to(directory).as_posix()] = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from None
    return texts
