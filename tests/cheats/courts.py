"""Who may refuse a cheat: the product's own judges, on real trees, with real programs in a real box. `python -m tests.cheats.courts NAME:COURT …`

tree      the tree policy          scope     the hint against the tree       gate      `run_gate` as for code of a model, in a box
held_out  gate and held-out rows   row       the eval row that a pull brings cure      replay of the hint's own case, in a box
command   `triage gate run` on a real repository, in plain processes
"""

import contextlib
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import service
from connectors.codemod import RecipeCodemod
from connectors.ports import PortError, TreeJob
from connectors.sandbox import Caps, made
from connectors.subprocess_evals import SubprocessEvals
from rubric.expectations import judge
from rubric.gating import judge_gate
from rubric.manifest import Manifest, read_manifest
from rubric.schema import Hint, Plan
from rubric.verdicts import CureVerdict
from service.commands import gate as gate_command
from service.eval_rows import make_row
from service.gating import GateRefused, run_gate
from service.heldout import HeldOutRows
from service.scope import check_scope
from service.stages import evals
from service.treepolicy import check_tree
from service.trees import changed_paths, walk
from tests.cheats.catalogue import Cheat, Refusal, needed
from tests.cheats.trees import HELD_OUT, answers, cache_of, hint_of, planted

CAPS = Caps(processes=64, memory_mb=1024, disk_mb=64, files=2000)


@dataclass(frozen=True)
class Told:
    """What a court said."""

    accepted: bool
    state: str = ""
    codes: tuple[str, ...] = ()
    reasons: str = ""

    def is_as(self, wanted: Refusal) -> bool:
        codes = wanted.state is not None or sorted(self.codes) == sorted(wanted.codes)
        return not self.accepted and codes and wanted.state in (None, self.state) and re.search(wanted.says, self.reasons, re.DOTALL) is not None


@dataclass(frozen=True)
class Scene:
    """A target before and after a cheat, and what runs them."""

    cheat: Cheat
    place: Path
    manifest: Manifest
    hint: Hint
    runner: SubprocessEvals

    @property
    def base(self) -> Path:
        return self.place / "base"

    @property
    def head(self) -> Path:
        return self.place / "head"

    @property
    def ticket(self) -> dict[str, Any]:
        return {"messages": [{"role": "customer", "text": self.cheat.ticket}]}

    def changed(self) -> list[str]:
        return changed_paths(self.base, self.head, walk(self.base), walk(self.head))


def hold(cheat: Cheat, court: str, boxed: bool = True) -> Told:
    """Set the scene and have one court look at it. `boxed` False: without the box that belongs around it."""
    place = Path(tempfile.mkdtemp(prefix="cheat-", dir="/tmp")).resolve()
    try:
        place.chmod(0o755)
        with _oracle() as door:
            planted(cheat, place, door)
            manifest = read_manifest((place / "base" / "triage.yaml").read_text(encoding="utf-8"))
            box = made(programs=(sys.executable,), caps=CAPS) if boxed else None
            runner = SubprocessEvals(place / "scratch", python=sys.executable, box=box)
            try:
                return COURTS[court](Scene(cheat, place, manifest, hint_of(), runner))
            except (GateRefused, PortError) as error:
                return Told(False, "refused", (error.code,), f"{error.code}: {error}")
            finally:
                cache_of(door).unlink(missing_ok=True)
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", place], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _oracle() -> Iterator[int]:
    """A server on this machine that knows what is expected, for a head that wants to ask."""
    said = json.dumps(answers()).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller:
                        caller.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _tree(scene: Scene) -> Told:
    manifest = scene.manifest
    if scene.cheat.reach == "wide":
        manifest = manifest.model_copy(update={"allow": {scene.cheat.recipe: ["**"]}})
    change = check_tree(scene.base, scene.head, manifest, scene.cheat.recipe, max_files=20, max_bytes=200_000, may_hold_personal=False)
    return _violations(change.violations)


def _scope(scene: Scene) -> Told:
    expected = Path(shutil.copytree(scene.base, scene.place / "expected"))
    done = RecipeCodemod().run(TreeJob("cheat", scene.hint, scene.manifest), expected)
    assert done.status == "done", done
    paths = changed_paths(scene.base, expected, walk(scene.base), walk(expected))
    files: dict[str, bytes | None] = {path: (expected / path).read_bytes() for path in paths}
    return _violations(check_scope(scene.base, scene.head, scene.manifest, scene.hint, files))


def _violations(found: Any) -> Told:
    codes = tuple(sorted({one.code for one in found}))
    return Told(not found, "fail" if found else "pass", codes, "; ".join(f"{one.code} at {one.path}: {one.text}" for one in found))


def _gate(scene: Scene, held_out: bool = False) -> Told:
    changed, kept = scene.changed(), None
    if held_out:
        (scene.place / "kept").mkdir()
        (scene.place / "kept" / "fetch-golden.jsonl").write_text(HELD_OUT, encoding="utf-8")
        kept = HeldOutRows.ready(scene.place / "kept", scene.manifest, scene.base, scene.place)
    report = run_gate(scene.base, scene.head, changed, scene.manifest, scene.runner, scratch=scene.place)
    beside = evals._by_its_own_word(SimpleNamespace(by_model=True), report)
    if kept:
        beside += evals._by_held_out(kept.examine(scene.runner, scene.manifest, report.steps, scene.base, scene.head))
    verdict = judge_gate(report.suites, None, [], beside)
    return Told(verdict.state == "pass", verdict.state, (), "; ".join(verdict.reasons))


def _row(scene: Scene) -> Told:
    found = make_row(scene.runner, scene.manifest, scene.hint, "hint-1", {"ticket": scene.ticket}, scene.base, scene.head)
    return Told(found.row is not None, "row" if found.row else "none", (), found.note)


def _cure(scene: Scene) -> Told:
    assert scene.manifest.replay is not None
    asked = {scene.hint.cure_case: {"ticket": scene.ticket}}
    before, after = (scene.runner.replay(scene.manifest.replay, tree, asked)[0] for tree in (scene.base, scene.head))
    if before.plan is None or after.plan is None:
        return Told(False, "error", (), f"{before.failure} {after.failure}: {before.detail} {after.detail}")
    unmet = judge(scene.hint.must, scene.hint.must_not, Plan.model_validate(before.plan), Plan.model_validate(after.plan))
    cure = CureVerdict(case_id=scene.hint.cure_case, state="no_effect" if unmet else "cured", reason="; ".join(unmet))
    return Told(cure.state == "cured", cure.state, (), cure.reason)


def _command(scene: Scene) -> Told:
    repo = scene.place / "repo"

    def git(*words: str) -> str:
        plain = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(["git", *who, "-C", str(repo), *words], env=plain, check=True, capture_output=True, text=True).stdout.strip()

    repo.mkdir()
    git("init", "-q", "-b", "main")
    for side in ("base", "head"):
        git("--work-tree", str(scene.place / side), "add", "-A", "-f")
        for path, op in (scene.cheat.head if side == "head" else {}).items():
            if op.submodule:
                git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'base')},{path}")
        git("commit", "-q", "-m", side)
        git("branch", side)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = gate_command.main(["run", "--repo", str(repo), "--base", "base", "--head", "head", "--json"])
    found = json.loads(out.getvalue())
    if "error" in found:
        return Told(False, "refused", (found["error"]["code"],), f"{found['error']['code']}: {found['error']['message']}")
    return Told(status == 0, found["state"], (), "; ".join(found["reasons"]))


COURTS: Mapping[str, Callable[[Scene], Told]] = {
    "tree": _tree, "scope": _scope, "gate": _gate, "held_out": lambda scene: _gate(scene, held_out=True), "row": _row, "cure": _cure, "command": _command,
}  # fmt: skip
IN_A_BOX = ("gate", "held_out", "row", "cure")


def main(asked: list[str]) -> int:
    """One line of JSON for each NAME:COURT, and first the folder of the code that judges; `--unboxed` in front takes the box away."""
    print(json.dumps({"code": str(Path(service.__file__).parents[1])}), flush=True)
    boxed = asked[:1] != ["--unboxed"]
    for one in asked if boxed else asked[1:]:
        name, _, court = one.partition(":")
        print(json.dumps({"asked": one, **vars(hold(needed(name), court, boxed))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
