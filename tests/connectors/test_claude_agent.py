"""What Claude Code is started with: every setting is explained, the version is the pinned one, and the prompt is a client's."""

import json
import sys
from pathlib import Path

from connectors.agent_box import AgentBox, Seen
from connectors.claude_agent import ARGV, ENVIRONMENT, LEAST, ClaudeAgent
from connectors.sandbox import Bubblewrap

ROOT = Path(__file__).resolve().parents[2]
SELF_EVIDENT = {"--print", "--verbose", "--output-format"}
"""how it is made to run headless at all"""


def test_every_setting_is_explained() -> None:
    told = (ROOT / "docs" / "agents.md").read_text()
    flags = {word.rstrip("=") for word in ARGV if word.startswith("--")} - SELF_EVIDENT
    assert [name for name in (*sorted(flags), *ENVIRONMENT) if name not in told] == []


def test_the_pinned_version_is_the_one_that_the_settings_were_tried_with() -> None:
    pinned = json.loads((ROOT / ".ci/npm/package.json").read_text())["dependencies"]
    locked = json.loads((ROOT / ".ci/npm/package-lock.json").read_text())["packages"]
    assert pinned["@anthropic-ai/claude-code"] == ".".join(map(str, LEAST))
    assert locked[""]["dependencies"] == pinned
    assert all("integrity" in package and "resolved" not in package for place, package in locked.items() if place)
    assert all(f"{name}@{version}" in (ROOT / "docs" / "agents.md").read_text() for name, version in pinned.items())


def test_the_prompt_goes_in_as_a_client_s_and_never_as_a_word(tmp_path: Path) -> None:
    agent = ClaudeAgent(AgentBox(Bubblewrap(), tmp_path, python=sys.executable), program="claude", model="m", effort="low")
    program = agent._compose(Seen(tmp_path / "job.json", tmp_path, "dummy", '{"x": "@/etc/passwd\\n/init"}'), 7)
    assert not any("passwd" in word for word in (*program.argv, *program.environment, *program.environment.values()))
    assert program.argv[-6:] == ["--model", "m", "--effort", "low", "--max-turns", "7"]
    lines = (program.says or "").splitlines()
    said = json.loads(lines[0])
    assert len(lines) == 1 and said["client_composed"] is True and said["message"]["content"].endswith('{"x": "@/etc/passwd\\n/init"}')
    assert "ANTHROPIC_AUTH_TOKEN" not in program.environment and "bypassPermissions" not in program.argv
