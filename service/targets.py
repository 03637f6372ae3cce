"""What a target is at one commit: its manifest and everything a hint may name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from connectors.ports import CodeHost, PortError
from rubric.entries import Inventory
from rubric.inventory import field_names
from rubric.manifest import Manifest, inventory_files, read_inventory, read_manifest
from rubric.shapes import complete, policy_file
from rubric.strict import Unreadable, load_json

SPOKEN_CAP, SPOKEN_IN = 16 * 1024 * 1024, (".json", ".jsonl", ".yaml", ".yml")
"""bytes of a target's data files that are searched for names of fields, and what such files are called"""


@dataclass(frozen=True)
class Target:
    """A target at one commit."""

    name: str
    sha: str
    manifest: Manifest
    inventory: Inventory


def host_of(hosts: Mapping[str, CodeHost], name: str) -> CodeHost:
    """The host of a target. Raises `PortError("target_unknown")`."""
    if name not in hosts:
        raise PortError("target_unknown", f"no target {name!r} is configured; set it in TRIAGE_TARGETS")
    return hosts[name]


@lru_cache(maxsize=16)
def _look(host: Any, sha: str) -> Target:
    """Kept for the next caller: a commit never changes. Keyed by the host object, so two targets never mix."""
    return _read(host, sha)


def look(host: CodeHost, sha: str) -> Target:
    """Manifest and inventory of a target at one commit.

    Raises `PortError` with code `no_manifest`, `manifest_invalid` or `config_unreadable`, naming file and place.
    """
    keyed: Any = host
    return _look(keyed, sha)


def _read(host: CodeHost, sha: str) -> Target:
    raw = host.read(sha, "triage.yaml")
    if raw is None:
        raise PortError("no_manifest", f"target {host.name} has no triage.yaml at {sha[:12]}; see docs/manifest.md for how to write one")
    try:
        manifest = read_manifest(raw.decode("utf-8", errors="replace"))
    except Unreadable as error:
        raise PortError("manifest_invalid", f"target {host.name} at {sha[:12]}: {error}") from None
    files = {}
    for path in inventory_files(manifest, host.paths(sha)):
        files[path] = (host.read(sha, path) or b"").decode("utf-8", errors="replace")
    own = policy_file(manifest)
    try:
        inventory = read_inventory(manifest, files)
        policies = load_json(host.read(sha, own) or b"null", what=own) if own and own.endswith(".json") else None
        manifest, inventory = complete(manifest, inventory, policies)
    except Unreadable as error:
        raise PortError("config_unreadable", f"target {host.name} at {sha[:12]}: {error}") from None
    return Target(name=host.name, sha=sha, manifest=manifest, inventory=inventory)


@lru_cache(maxsize=4)
def _look_around(host: Any, sha: str) -> Target:
    target = _look(host, sha)
    return replace(target, inventory=target.inventory.model_copy(update={"spoken_of": _spoken_of(host, target)}))


def look_around(host: CodeHost, sha: str) -> Target:
    """As `look`, and with the names of fields that data files of the target speak of: for a critic, who asks what is missing."""
    keyed: Any = host
    return _look_around(keyed, sha)


def _spoken_of(host: CodeHost, target: Target) -> frozenset[str]:
    """Names of fields that the target's data files speak of, recorded answers among them, whether the config has them or not.

    Eval rows are left out: who drafts a change does not look at what it will be judged by.
    """
    found: set[str] = set()
    left = SPOKEN_CAP
    for path in sorted(host.paths(target.sha)):
        if left > 0 and path.endswith(SPOKEN_IN) and not target.manifest.is_exam(path):
            text = (host.read(target.sha, path) or b"")[:left]
            left -= len(text)
            found |= field_names(text.decode("utf-8", errors="replace"), target.inventory)
    return frozenset(found)
