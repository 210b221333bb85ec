"""Settings of the edge: environment (`HEFA_*`), secrets directory, and the command line on top.

Reads no network and opens no data. What it resolves: where the plant model lies, which broker each
gateway speaks to, where a site keeps its state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT_SEEDS = Path(__file__).resolve().parents[2] / "seeds"

Profile = Literal["core", "full"]
FullPolicy = Literal["block", "drop_oldest"]
Model = Literal["dynamic", "steady"]


class ConfigError(Exception):
    """A setting is missing or cannot be used; the text says which and what to do."""


class Settings(BaseSettings):
    """Everything that can be set; the command line overrides the environment."""

    model_config = SettingsConfigDict(env_prefix="HEFA_", extra="ignore")

    seeds: Path = Field(CHECKOUT_SEEDS, description="Directory of the plant model (seeds).")
    data_dir: Path = Field(Path(".hefa"), description="Where the site keeps its state, under edge/.")
    mqtt_url: str | None = Field(
        None,
        description="mqtt://user:password@host:port, or mqtts://host:port?ca=FILE&cert=FILE&key=FILE, for every gateway; "
        "{edge} stands for its name.",
    )
    source_url: str | None = Field(
        None,
        description="mqtt://user:password@host:port where `adapt` finds foreign messages; unset: the gateway's own broker.",
    )
    secrets_dir: Path | None = Field(
        None, description="Directory with one file mqtt_url_<edge> a gateway; used where no mqtt_url is set."
    )
    profile: Profile = Field("full", description="core: only the tags that every plant has; full: all of them.")
    model: Model | None = Field(
        None,
        description="dynamic: the reference plant with its physics, needs behaviour.toml among the seeds; steady: any "
        "plant, near its normal values. Unset: dynamic where that file is.",
    )
    scenario: str | None = Field(
        None,
        description="A story from the seeds' scenarios/, such as busy-month: what is made when, and what goes wrong. "
        "Unset or none: the plant at its design feed.",
    )
    seed: int = Field(1, ge=0, description="Another seed is another history; the same seed gives the same readings.")
    log_level: str = Field(
        "INFO", pattern="(?i)^(debug|info|warning|error)$", description="DEBUG, INFO, WARNING or ERROR."
    )
    outbox_max_bytes: int = Field(
        1 << 30, ge=1 << 16, description="Bytes of envelopes one outbox may hold; more survives longer outages."
    )
    outbox_policy: FullPolicy = Field(
        "drop_oldest",
        description="When an outbox is full: drop_oldest keeps the present, block keeps the past. Both tell the gap.",
    )
    outbox_grace_s: int = Field(
        86_400,
        ge=0,
        description="How long an acknowledged envelope is kept, to be sent again to a platform restored from backup.",
    )
    resend_s: float = Field(
        10.0,
        ge=0.1,
        description="Shortest time in seconds without an ack after which an envelope is sent again, doubled each time. "
        "Where acks take longer, gateways learn to wait longer.",
    )
    window: int = Field(128, ge=1, le=1000, description="Envelopes in flight, unacknowledged, for one gateway.")

    @property
    def state_dir(self) -> Path:
        """Directory of checkpoint and outboxes."""
        return self.data_dir / "edge"

    @property
    def truth_path(self) -> Path:
        """File of the truth ledger."""
        return self.data_dir / "truth.sqlite"

    def broker_url(self, edge: str) -> str:
        """Find the broker of a gateway. Raises ConfigError when neither URL nor secret is there."""
        if self.mqtt_url is not None:
            return self.mqtt_url.replace("{edge}", edge)
        if self.secrets_dir is None:
            raise ConfigError(
                "no broker: set HEFA_MQTT_URL or --mqtt-url, or name the directory of mqtt_url_<edge> files by --secrets"
            )
        path = self.secrets_dir / f"mqtt_url_{edge}"
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"no broker for {edge}: cannot read {path} ({error.strerror})") from None


def read_seeds(directory: Path) -> dict[str, str]:
    """Read the texts of a plant model, keyed by path relative to `directory`. Raises ConfigError."""
    if not directory.is_dir():
        raise ConfigError(f"no plant model: {directory} is no directory; set HEFA_SEEDS or --seeds")
    texts = {}
    for path in sorted(directory.rglob("*.toml")):
        try:
            texts[path.relative_to(directory).as_posix()] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from None
    return texts
