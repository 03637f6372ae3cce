"""The package holds here: the wheel has all that it needs, runs outside of the checkout on the runtime lock, and the image is made the same way."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
pytestmark = pytest.mark.xdist_group("packaging")  # one worker builds and installs for all
PACKAGES = ("connectors", "migrations", "rubric", "service")
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<marker> ;[^\\]*)?(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE
)


# ---- the lock files


def pins(name: str) -> dict[str, re.Match[str]]:
    return {canonicalize_name(found["name"]): found for found in PIN.finditer((ROOT / name).read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_each_package_once_with_hashes_and_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    left = PIN.sub("", text).strip()
    assert not left, f"{name} holds something besides pins with hashes: {left[:200]!r}"
    found = [canonicalize_name(match["name"]) for match in PIN.finditer(text)]
    assert len(found) == len(set(found)), f"{name} pins a package twice"
    without = [match["name"] for match in PIN.finditer(text) if not match["hashes"]]
    assert not without, f"{name} has no hash for {', '.join(without)}"
    assert "://" not in text, f"{name} names an address"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"], *PROJECT["build-system"]["requires"]]),
    ],
)
def test_a_lock_fits_pyproject(name: str, wanted: list[str]) -> None:
    locked = pins(name)
    wrong = []
    for requirement in map(Requirement, wanted):
        pin = locked.get(canonicalize_name(requirement.name))
        if pin is None:
            wrong.append(f"{requirement} is not in {name}")
        elif not requirement.specifier.contains(pin["version"], prereleases=True):
            wrong.append(f"{requirement} does not allow {pin['version']}, which {name} pins")
    assert not wrong, "\n".join(wrong)


def test_both_locks_pin_the_same_runtime_packages() -> None:
    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")
    other = [name for name, pin in runtime.items() if name not in development or development[name]["version"] != pin["version"]]
    assert not other, f"requirements-dev.lock has other versions of {', '.join(other)}: what is tested is not what is shipped"


# ---- the wheel


@dataclass(frozen=True)
class Installed:
    wheel: Path
    python: Path
    place: Path
    """a folder outside of the checkout"""

    def triage(self, *words: str) -> list[str]:
        return [str(self.python.with_name("triage")), *words]


def _run(argv: list[str], what: str, *, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TRIAGE_", "PYTHON", "VIRTUAL_ENV", "COV_"))}
    done = subprocess.run(argv, cwd=cwd, env={**environment, **extra}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    if done.returncode:
        pytest.fail(f"{what}; `{' '.join(argv[:6])} …` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2500:]}")
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)], "the wheel cannot be built", cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    place = tmp_path_factory.mktemp("elsewhere")
    assert ROOT not in place.parents
    _run([sys.executable, "-m", "venv", str(place / "venv")], "no virtual environment can be made", cwd=place)
    python = place / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--progress-bar", "off"]
    why = "requirements.lock cannot be installed with this machine's pip settings (this test needs a package index that pip can reach)"
    _run([*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")], why, cwd=place)
    _run([*pip, "--no-deps", "--no-index", str(wheel)], "the wheel cannot be installed", cwd=place)
    return Installed(wheel, python, place)


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    missing = [name for name in on_disk - inside if (ROOT / name).exists()]
    assert not missing, f"not in the wheel: {', '.join(sorted(missing))}"
    assert {name.split("/")[0] for name in inside} == set(PACKAGES)
    wanted = (
        "service/web/templates/",
        "service/web/static/",
        "rubric/cards/recipes/",
        "rubric/cards/outcomes/",
        "rubric/words.yaml",
        "rubric/lures.yaml",
        "migrations/versions/",
    )
    assert all(any(name.startswith(start) for name in inside) for start in wanted)
    assert not [name for name in inside if name.endswith((".pyc", ".db", ".env"))]


@pytest.mark.slow
def test_the_four_packages_are_ours_and_stand_side_by_side(installed: Installed) -> None:
    """The plain names `service`, `rubric`, `connectors` exist on the public index too."""
    script = f"import importlib.util as u, json; print(json.dumps([u.find_spec(name).origin for name in {PACKAGES!r}]))"
    origins = json.loads(_run([str(installed.python), "-I", "-c", script], "the packages cannot be found", cwd=installed.place).stdout)
    parents = {Path(origin).parents[1] for origin in origins}
    assert len(parents) == 1, origins
    assert installed.place in parents.pop().parents


@pytest.mark.slow
def test_the_runtime_lock_is_complete(installed: Installed) -> None:
    _run([str(installed.python), "-m", "pip", "--disable-pip-version-check", "check"], "the runtime lock lacks something", cwd=installed.place)


@pytest.mark.slow
def test_the_installed_service_migrates_serves_and_asks_to_sign_in(installed: Installed) -> None:
    data = {"TRIAGE_DATA_DIR": str(installed.place / "data")}
    _run(installed.triage("migrate"), "the database cannot be made", cwd=installed.place, **data)
    with _serving(installed, data) as address:
        status, body = _get(f"{address}/readyz")
        assert (status, json.loads(body)) == (200, {"ready": True, "missing": {}})
        status, page = _get(f"{address}/hints", accept="text/html")
        assert status == 200
        assert 'name="token"' in page, page[:500]
        links = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert links, page[:500]
        assert [_get(address + link)[0] for link in links] == [200] * len(links)
        assert _get(f"{address}/v1/hints")[0] == 401


class _serving:
    """A `triage serve` of the installed package; gives its address."""

    def __init__(self, installed: Installed, settings: dict[str, str]):
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TRIAGE_", "PYTHON"))}
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            installed.triage("serve", "--host", "127.0.0.1", "--port", "0"), cwd=installed.place, env={**inherited, **settings},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self._lines.extend(self._process.stderr)

    def __enter__(self) -> str:
        try:
            return next(self._addresses())
        except BaseException:
            self.__exit__()
            raise

    def _addresses(self) -> Iterator[str]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            found = re.search(r"serving (http://\S+)", "".join(self._lines))
            if found and _answers(f"{found[1]}/livez"):
                yield found[1]
            time.sleep(0.1)
        pytest.fail(f"triage serve did not come up: {''.join(self._lines)[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            pytest.fail("triage serve did not stop within 40 s")


def _answers(address: str) -> bool:
    try:
        return _get(address)[0] == 200
    except OSError:
        return False


def _get(address: str, accept: str = "*/*") -> tuple[int, str]:
    request = urllib.request.Request(address, headers={"accept": accept})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# ---- the image


def instructions() -> list[list[tuple[str, str]]]:
    """The Dockerfile's stages, each a list of (instruction, arguments), comments left out and lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, re.sub(r"\s+", " ", rest)))
    return stages


def test_the_image_is_made_by_the_commands_that_are_tested_here() -> None:
    build, packages, image = instructions()
    ran = [" ".join(rest for word, rest in stage if word == "RUN") for stage in (build, packages, image)]
    assert "--require-hashes -r requirements-dev.lock" in ran[0]
    assert "python -m build --wheel --no-isolation" in ran[0]
    assert "--require-hashes -r /build/requirements.lock" in ran[1]
    assert "--no-deps --no-index /dist/*.whl" in ran[1]
    assert "pip" not in ran[2], "the last stage installs no Python package; it gets the finished environment"
    assert image[-1] == ("CMD", '["triage", "serve"]')
    assert all(rest.startswith("python:3.11-slim") for stage in instructions() for word, rest in stage if word == "FROM")


def test_the_image_runs_without_root_and_says_how_it_is() -> None:
    said = instructions()[-1]
    words = [word for word, _ in said]
    users = [rest for word, rest in said if word == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    assert words.index("USER") < words.index("CMD")
    assert not [rest for word, rest in said[words.index("USER") :] if word == "RUN"]
    assert {"VOLUME", "EXPOSE", "HEALTHCHECK"} <= set(words)
    check = next(rest for word, rest in said if word == "HEALTHCHECK")
    assert "/readyz" in check
    assert "urllib" in check
    data = next(rest for word, rest in said if word == "VOLUME")
    assert f"TRIAGE_DATA_DIR={data}" in next(rest for word, rest in said if word == "ENV")


def test_nothing_gets_into_the_image_by_accident() -> None:
    copied = [rest.split()[:-1] for stage in instructions() for word, rest in stage if word in ("COPY", "ADD") and "--from=" not in rest]
    names = {name for sources in copied for name in sources}
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", ".dockerignore leaves everything out first"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert names == let_in, "what the Dockerfile copies is what .dockerignore lets in"
    assert not names & {".", ".git", ".env", "var", "tests", "examples"}
    assert set(PACKAGES) <= names
