"""Secrets that the service makes for itself: whole, private, and never empty."""

import stat
import threading
from pathlib import Path

import pytest

from service.errors import Misconfigured
from service.settings import Settings
from service.store.calls import Caps
from service.wiring import given_secret, kept_secret


def test_a_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    first = kept_secret(settings, "token")
    assert len(first) >= 32 and kept_secret(settings, "token") == first
    assert stat.S_IMODE((tmp_path / "data" / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["token"]


@pytest.mark.parametrize("held", ["", "\n", "short"])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, held: str) -> None:
    (tmp_path / "token").write_text(held)
    with pytest.raises(Misconfigured, match="no secret"):
        kept_secret(Settings(data_dir=tmp_path), "token")


@pytest.mark.parametrize("value", ["", " ", "x" * 15])
def test_a_given_secret_that_could_be_guessed_is_refused(value: str) -> None:
    with pytest.raises(Misconfigured, match="TRIAGE_TOKEN"):
        given_secret("TRIAGE_TOKEN", value)


def test_many_processes_at_once_share_one_secret(tmp_path: Path) -> None:
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(kept_secret(Settings(data_dir=tmp_path), "split.key"))) for _ in range(20)]
    [thread.start() for thread in threads]  # type: ignore[func-returns-value]
    [thread.join() for thread in threads]  # type: ignore[func-returns-value]
    assert len(seen) == 20 and len(set(seen)) == 1


def test_each_cap_of_the_settings_is_the_ledger_s_own() -> None:
    settings = Settings(spend_case_usd=1, spend_hour_usd=2, spend_day_usd=3)
    assert Caps(**settings.caps()) == Caps(case=1, hour=2, day=3)
