"""One running app for the tests of a file, empty at the start of each test."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.service.web.world import World


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("pages"))
    with TestClient(world.app):
        yield world


@pytest.fixture
def world(running: World) -> World:
    return running.begin()
