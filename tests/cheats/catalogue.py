"""The folder of cheats is read here: who would do it, how head is changed, and the refusal that it has to get from each court."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

HERE = Path(__file__).parent
Court = Literal["tree", "scope", "gate", "held_out", "row", "cure", "command"]
"""who may refuse: see `courts.py`"""
SuiteKind = Literal["outside", "grader", "sampled", "self", "junit", "promptfoo", "inspect", "pytest"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Op(_Part):
    """What is done to one path of a tree; one of them, or several in this order."""

    gone: bool = False
    text: str | None = None
    copy_of: str | None = None
    """another file of the tree"""
    bytecode: str | None = None
    """Python, compiled so that no source beside it is looked at; `@TAG@` in the path is this Python's mark"""
    before: str = ""
    """put in front of what is there"""
    after: str = ""
    """put behind what is there"""
    swap: tuple[str, str] | None = None
    """old text, which must stand there, and what it becomes wherever it does"""
    link: str | None = None
    """a symbolic link to this"""
    second_name_of: str | None = None
    """a hard link to another file of the tree"""
    pipe: bool = False
    mode: str | None = None
    """in octal: 755"""
    size: int | None = None
    """so many bytes, without content"""
    times: int = 1
    """so many files, with a number behind the name"""
    submodule: bool = False
    """for `command` alone: a commit of another repository"""


class Refusal(_Part):
    """What a court has to say, to the letter."""

    codes: tuple[str, ...] = ()
    """of `tree` and `scope`: the codes of all violations"""
    state: Literal["fail", "inconclusive", "error", "refused", "no_effect", "none"] | None = None
    """of the others: the verdict; `refused`: they take no such tree"""
    says: str = ""
    """expression that the reasons have to match"""


class Cheat(_Part):
    """One file of `catalogue/`, or of `honest/`."""

    name: str
    what: str
    """in one sentence"""
    who: str
    """who would do it"""
    known: str
    """from where it is known"""
    suite: SuiteKind = "outside"
    steps: tuple[str, ...] = ("fetch",)
    timeout_s: int = 30
    ticket: str = "I lost my card. Write to anna.holt@mail.example"
    """what `row` and `cure` are about; this one's record is found by its mail address alone, so that the change that was asked for moves it"""
    harm: bool = True
    """head also carries a regression, which the cheat has to hide: rows of fetch are lost by it"""
    works: bool = False
    """head also carries the change that was asked for"""
    recipe: str = "adjust_fetch_weight"
    reach: Literal["manifest", "wide"] = "wide"
    """what the recipe may change for `tree`: as the manifest says, or everything, so that one guard alone has to hold"""
    base: Mapping[str, Op] = {}
    head: Mapping[str, Op] = {}
    refused: Mapping[Court, Refusal] = Field(default={})
    passes: tuple[Court, ...] = ()
    """of an honest change: the courts that let it through"""
    open: Mapping[Court, str] = {}
    """courts that do not refuse it as yet, each with the reason why"""


@cache
def cheats() -> Mapping[str, Cheat]:
    return _read(HERE / "catalogue")


@cache
def honest() -> Mapping[str, Cheat]:
    return _read(HERE / "honest")


def _read(folder: Path) -> Mapping[str, Cheat]:
    found: dict[str, Cheat] = {}
    for file in sorted(folder.glob("*.yaml")):
        said: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        found[file.stem] = Cheat.model_validate({"name": file.stem, **said})
    return found


def needed(name: str) -> Cheat:
    """A cheat or an honest change by the name of its file."""
    return cheats()[name] if name in cheats() else honest()[name]
