"""Settings of the portal: `HEFA_*` variables and the files of the secrets directory. Reading them connects nowhere."""

import base64
import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator may set. Command line options of `hefa-apps serve` win over the environment."""

    model_config = SettingsConfigDict(env_prefix="HEFA_", extra="ignore")

    api_url: str = Field("http://127.0.0.1:8000", description="Base URL of the platform's REST API, without /v1.")
    portal_host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 opens the portal to the network.")
    portal_port: int = Field(8080, description="Port to listen on; 0 takes a free one.", ge=0, le=65535)
    simulated: bool = Field(
        True, description='Print "SIMULATED DATA" on every page. Turn it off only when real gateways feed the platform.'
    )
    secrets_dir: Path | None = Field(None, description="Directory with the files `session_key` and `publish_key`.")
    session_key: SecretStr | None = Field(
        None, description="Secret that seals the session cookies; wins over the file. Changing it signs everybody out."
    )
    session_hours: float = Field(
        24 * 7, description="How long a sign-in lasts. Short on shared desks, long on a wall.", gt=0, le=24 * 366
    )
    flowsheet: Path | None = Field(
        None, description="Layout of the flowsheet, a TOML file; the reference plant's when not set."
    )
    publish_key: SecretStr | None = Field(
        None,
        description="Key of role engineer with which figures are published as calculated tags; wins over the file.",
    )
    publish: str = Field(
        "use.electricity,use.water,use.gas,electricity.per_t,gas.per_t,HCl.per_t,NaOH.per_t",
        description="Metrics to publish each whole hour as the tags KPI.<metric>, separated by commas.",
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Proxies whose X-Forwarded-* headers are believed: they decide whether cookies are Secure.",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR."
    )

    def sealing_key(self) -> tuple[bytes, bool]:
        """Return the 32-byte url-safe key for session cookies, and whether it outlives this process.

        Any text serves as the secret: it is hashed to the size the cipher wants. Without one, a random key is made
        and everybody signs in again after a restart; there is no built-in default that two sites could share.
        """
        text = self._secret(self.session_key, "session_key")
        seed = text.encode() if text else os.urandom(32)
        return base64.urlsafe_b64encode(hashlib.sha256(b"hefa portal session\0" + seed).digest()), bool(text)

    def publishing_key(self) -> str:
        """Return the key with which figures are published, "" for none: nothing is published then."""
        return self._secret(self.publish_key, "publish_key") if self.publish.strip() else ""

    def _secret(self, given: SecretStr | None, name: str) -> str:
        """Return what was set, else what the file of the secrets directory says, else ""."""
        if given is not None and given.get_secret_value():
            return given.get_secret_value()
        file = self.secrets_dir / name if self.secrets_dir is not None else None
        return file.read_text("utf-8").strip() if file is not None and file.is_file() else ""
