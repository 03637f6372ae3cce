"""Every setting of the service, read once at the edge and handed on; and the one line that a start ends with when it cannot be."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""what a source or a target may be called"""
NAME_RULE = "a name is 1 to 64 of A-Z a-z 0-9 . _ -"
BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""as the code host takes base branches"""
DATABASE = re.compile(
    r"sqlite:///.+|"
    r"postgresql(\+psycopg)?://([^:@/\s]*(:[^@\s]*)?@)?(\[[^\]@\s]*\]|[^:@/?\s\[\]]*)(:[0-9]{1,5})?(/[^@?\s]*)?(\?\S*)?"
)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(NAME_RULE)
    return text


def _branch(text: str) -> str:
    if not BRANCH.fullmatch(text):
        raise ValueError("a base branch is 1 to 100 of A-Z a-z 0-9 _ - and begins with a letter or digit")
    return text


def _database(url: str | None) -> str | None:
    if url and not DATABASE.fullmatch(url):
        raise ValueError("a database is postgresql://user:password@host/name (%40 for an @ in the password), sqlite:///PATH, or left out")
    return url


Name = Annotated[str, AfterValidator(_name)]
Effort = Literal["low", "medium", "high", "xhigh", "max"]


class SourceSettings(BaseModel):
    """A sender of cases."""

    model_config = ConfigDict(hide_input_in_errors=True)

    secrets: list[SecretStr] = Field(min_length=1)
    """Standard Webhooks secrets (`whsec_…`); several while one is being rotated"""
    target: str
    """name of the target whose pipeline wrote the plans"""


class TargetSettings(BaseModel):
    """A pipeline repository to mend."""

    repo: Path
    """bare git repository on this machine"""
    branch: Annotated[str, AfterValidator(_branch)] = "main"
    held_out: Path | None = None
    """folder of rows that the service alone holds, SUITE.jsonl for each suite"""


class PriceSettings(BaseModel):
    """What a model costs, in US dollars per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)


class Settings(BaseSettings):
    """Environment variables with the prefix `TRIAGE_`, or a `.env` file."""

    model_config = SettingsConfigDict(env_prefix="TRIAGE_", env_file=".env", env_nested_delimiter="__", extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Path("var")
    """folder for the SQLite file, scratch trees and the generated token"""
    database_url: Annotated[str | None, AfterValidator(_database)] = None
    """`postgresql://user@host/name`; empty: SQLite in the data folder"""
    host: str = Field(default="127.0.0.1", min_length=1)
    """address that the server binds to"""
    port: int = Field(default=8321, ge=0, le=65535)
    """port that the server binds to; 0: any free one"""
    token: SecretStr | None = None
    """token for API and sign-in; empty: one is made and kept in the data folder"""
    sources: dict[Name, SourceSettings] = {}
    """JSON object: source name → {"secrets": [...], "target": name}"""
    targets: dict[Name, TargetSettings] = {}
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
    critic: Literal["precedent", "claude"] = "precedent"
    """who drafts hints: `precedent` (no key, no network), or `claude`: any server that speaks the Messages API"""
    claude_url: str = "https://api.anthropic.com"
    """address of the Messages server"""
    claude_key: SecretStr | None = None
    """its key; needed when the critic is `claude`"""
    claude_model: str = Field(default="claude-sonnet-5-5", pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")
    """model for every ask that has none of its own"""
    claude_models: dict[str, str] = {}
    """JSON object: name of an ask (rules, locate, target, fill, plain) → model"""
    claude_effort: Effort = "medium"
    """effort for every ask that has none of its own: low, medium, high, xhigh or max"""
    claude_efforts: dict[str, Effort] = {}
    """JSON object: name of an ask → effort"""
    claude_structured: Literal["native", "prompt_json"] = "native"
    """`native`: the server holds answers to a schema; `prompt_json`: the schema stands in the prompt, for servers that cannot"""
    claude_send_effort: bool = True
    """false for servers that refuse the field"""
    claude_legacy_auth: bool = False
    """true: the key goes out as `x-api-key` too, which older gateways read"""
    claude_seconds: float = Field(default=180, gt=0, le=3600)
    """bound on one call, whatever the server does"""
    claude_prices: dict[str, PriceSettings] = {}
    """JSON object: model → {"input": US dollars per million tokens, "output": ...}, over the list that comes with this version"""
    spend_case_usd: float = Field(default=0.50, ge=0)
    """most that the asks about one case may cost, an estimate by the price list; what would go past a cap is not asked"""
    spend_hour_usd: float = Field(default=5, ge=0)
    """most within any hour; drafts wait until it allows them"""
    spend_day_usd: float = Field(default=25, ge=0)
    """most within any 24 hours; drafts wait until it allows them"""
    sandbox: Literal["required", "off"] = "required"
    """`required`: what a model wrote runs in a box or not at all. `off`: as a plain process, with all that this user may do"""
    box_memory_mb: int = Field(default=2048, ge=128, le=1_048_576)
    """most memory of all programs of one box together"""
    box_processes: int = Field(default=256, ge=16, le=32_768)
    """most processes of one box"""
    box_disk_mb: int = Field(default=512, ge=16, le=1_048_576)
    """most that a box may write"""
    box_shares: list[Path] = []
    """JSON list: folders with programs outside of /usr that a box may see, read only; never one with secrets"""
    box_cgroup: Path | None = None
    """control group (version 2) that is delegated to the service; left out: its own one, where the kernel lets it make children"""
    agent: Literal["codemod", "builtin", "claude", "command"] = "codemod"
    """who makes changes that no template of the manifest can: nobody (`codemod`), or a model-driven agent"""
    agent_program: str = "claude"
    """program of the agent `claude`"""
    agent_command: list[str] = []
    """JSON list: command of the agent `command`, word by word; {job} and {tree} are filled in"""
    agent_models: list[str] = Field(default=["claude-sonnet-5-5"], min_length=1)
    """JSON list: models that an agent may ask, the first one unless it chooses; at the server of TRIAGE_CLAUDE_URL, with its key"""
    agent_seconds: float = Field(default=600, gt=0, le=7200)
    """wall clock of one attempt"""
    agent_turns: int = Field(default=40, ge=1, le=1000)
    """calls of the model in one attempt"""
    agent_tokens: int = Field(default=2_000_000, ge=1000)
    """tokens, in and out, of one attempt"""
    agent_usd: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """US dollars of one attempt, an estimate by the price list"""
    agent_exams: int = Field(default=3, ge=0, le=20)
    """times in one attempt that the agent may have its tree examined"""
    agent_attempts: int = Field(default=3, ge=1, le=3)
    """attempts at one hint; each is told what the policy and the step evals had against the one before"""
    max_body_bytes: int = Field(default=1_048_576, ge=1024, le=16_777_216)
    """largest webhook body"""

    def url(self) -> str:
        """The database URL in force, with the driver named."""
        if self.database_url:
            return self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        return f"sqlite:///{self.data_dir / 'triage.db'}"

    def caps(self) -> dict[str, float]:
        """US dollars that may be spent, by the names of `service.store.calls.Caps`, which settings do not know."""
        return {"case": self.spend_case_usd, "hour": self.spend_hour_usd, "day": self.spend_day_usd}

    def target_named(self, asked: str | None) -> str:
        """The target that a command is about: the one asked for, or the only one. Raises `Refused`."""
        name = asked or (next(iter(self.targets)) if len(self.targets) == 1 else None)
        if name is None or name not in self.targets:
            raise Refused(f"name the target: --target NAME, one of {', '.join(self.targets) or 'TRIAGE_TARGETS, which is empty'}", 64)
        return name


class Refused(Exception):
    """A command cannot start or go on; the message is one line that says what to do, and never holds a secret."""

    def __init__(self, line: str, exit_status: int = 78):
        super().__init__(line)
        self.exit_status = exit_status


def read_settings(**given: Any) -> Settings:
    """The settings; what is given and not None wins. Raises `Refused`, which names the setting and never a value."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first, *more = error.errors(include_url=False, include_context=False, include_input=False)
        names = ", ".join(dict.fromkeys(_place(one["loc"]) for one in more if one["loc"][:1] != first["loc"][:1]))
        also = f" (also wrong: {names})" if names else ""
        raise Refused(f"{_place(first['loc'])}: {first['msg'].removeprefix('Value error, ')}{also}; see .env.example") from None
    except SettingsError as error:
        named = re.search(r'field "(\w+)"', str(error))
        cause = error.__cause__
        why = f"not JSON, {cause.msg} at character {cause.pos + 1}" if isinstance(cause, JSONDecodeError) else "it cannot be read"
        raise Refused(f"TRIAGE_{named[1].upper() if named else '…'}: {why}; see .env.example") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f".env cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}") from None


def _place(loc: tuple[str | int, ...]) -> str:
    """`TRIAGE_SOURCES desk.secrets.0`: names of ours and of the user's, but nothing that is no name or looks like a secret."""
    setting, *inner = (str(part) for part in loc)
    parts = [part if NAME.fullmatch(part) and not part.startswith("whsec") else "…" for part in inner if part != "[key]"]
    return " ".join([f"TRIAGE_{setting.upper()}", *([".".join(parts)] if parts else [])])


@contextmanager
def starting() -> Iterator[None]:
    """Around a command's start: what settings, folders and databases can do to it becomes `Refused`. All else is a bug and stays as it is."""
    try:
        yield
    except Exception as error:
        line = _line_of(error)
        if line is None:
            raise
        raise Refused(line) from None


OURS = {"service.errors.Misconfigured", "service.engine.ExecutorTaken", "service.db.UnsafeDatabase", "connectors.eval_port.PortError"}
"""refusals whose message is written for the user"""
DATABASES = {"sqlalchemy.exc.SQLAlchemyError", "alembic.util.exc.CommandError"}


def _line_of(error: Exception) -> str | None:
    """By name, because these modules stand above the settings."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    said = (str(getattr(error, "orig", None) or error).strip().splitlines() or [""])[0]
    if names & OURS:
        return " ".join(str(error).split())
    if names & DATABASES:
        return f"the database cannot be used: {said}; see TRIAGE_DATABASE_URL, or without it triage.db in TRIAGE_DATA_DIR"
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return f"{what}{error.strerror or said}; is TRIAGE_DATA_DIR a folder that can be written, with room on its disk?"
    return None
