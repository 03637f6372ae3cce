"""Every setting of the service, read once at the edge and handed on."""

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class SourceSettings(BaseModel):
    """A sender of cases."""

    secrets: list[SecretStr] = Field(min_length=1)
    """Standard Webhooks secrets (`whsec_…`); several while one is being rotated"""
    target: str
    """name of the target whose pipeline wrote the plans"""


class TargetSettings(BaseModel):
    """A pipeline repository to mend."""

    repo: Path
    """bare git repository on this machine"""
    branch: str = "main"


class Settings(BaseSettings):
    """Environment variables with the prefix `TRIAGE_`, or a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="TRIAGE_", env_file=".env", env_nested_delimiter="__", extra="ignore")

    data_dir: Path = Path("var")
    """folder for the SQLite file, scratch trees and the generated token"""
    database_url: str | None = None
    """`postgresql://user@host/name`; empty: SQLite in the data folder"""
    host: str = "127.0.0.1"
    """address that the server binds to"""
    port: int = Field(default=8321, ge=0, le=65535)
    """port that the server binds to; 0: any free one"""
    token: SecretStr | None = None
    """token for API and sign-in; empty: one is made and kept in the data folder"""
    sources: dict[str, SourceSettings] = {}
    """JSON object: source name → {"secrets": [...], "target": name}"""
    targets: dict[str, TargetSettings] = {}
    """JSON object: target name → {"repo": path, "branch": "main"}"""
    split_secret: SecretStr | None = None
    """key of the scratch / dev / held-out split; empty: one is made and kept in the data folder. Never change it"""
    undo_seconds: int = Field(default=10, ge=0, le=3600)
    """how long a decision can be taken back before work starts"""
    settle_seconds: float = Field(default=5, ge=0, le=3600)
    """how long drafting waits after a rejection came in, so that a burst is drafted with all of it in view"""
    workers: int = Field(default=2, ge=1, le=64)
    """handoffs and gate runs at the same time in this process"""
    executor: str = "main"
    """name of this process among all that share the database; must be stable and unique"""
    poll_seconds: float = Field(default=0.25, ge=0.01, le=60)
    """how often a worker looks for due flows"""
    max_body_bytes: int = Field(default=1_048_576, ge=1024, le=16_777_216)
    """largest webhook body"""

    def url(self) -> str:
        """The database URL in force, with the driver named."""
        if self.database_url:
            return self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"sqlite:///{self.data_dir / 'triage.db'}"
