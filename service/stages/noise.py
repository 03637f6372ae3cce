"""Which rows of sampled suites vary on a base that does not change: measured at night, and believed for a week."""

from datetime import timedelta

import structlog

from connectors.ports import PortError, Ports
from service.db import Database
from service.gating import measure_noise
from service.scratch import scratch
from service.store import row_noise
from service.targets import Target, look

log = structlog.get_logger(__name__)
HOLDS = timedelta(days=7)
"""A measurement says nothing of a base that has moved on for longer, and nights that failed must not end all quarantine at once."""


def targets(ports: Ports) -> list[str]:
    """Those that have sampled suites on their base as it is now. One that cannot be read has none today."""
    found = []
    for name, host in ports.hosts.items():
        try:
            if _sampled(look(host, host.head())):
                found.append(name)
        except PortError as error:
            log.warning("a target's noise cannot be measured", target=name, code=error.code)
    return found


def measure(db: Database, ports: Ports, target_name: str) -> None:
    """Run the sampled suites of a target again and again on its newest base, and keep how often each row passed.

    Always afresh: kept results would say that nothing varies. A suite that gives no result keeps the measurement it had, until that expires.
    Raises `PortError` when the base cannot be had, `GateRefused` for a tree with links.
    """
    host = ports.hosts.get(target_name)
    if host is None:
        return  # taken out of the settings since the night began
    target = look(host, host.head())
    sampled, found = _sampled(target), {}
    if sampled:
        with scratch(ports.workdir, f"noise-{target_name}") as folder:
            host.export(target.sha, folder / "base")
            found = measure_noise(folder / "base", target.manifest, ports.evals, scratch=folder, failed=lambda suite, why: _tell(target_name, suite))
    with db.begin() as session:
        for suite, counts in found.items():
            if counts:
                row_noise.replace(session, target_name, suite, counts, db.now(), db.now() + HOLDS)
        row_noise.forget(session, target_name, sampled)


def _sampled(target: Target) -> list[str]:
    rules = target.manifest
    return [suite.id for _, suite in rules.suites(set(rules.steps)) if suite.kind == "sampled"]


def _tell(target: str, suite: str) -> None:
    log.warning("the noise of a suite could not be measured", target=target, suite=suite)  # why is what a program printed, and stays out of the log
