"""The only way from a box to a model lives here: a proxy on a unix socket that puts the real key in, counts, and lets little else through.

with ModelGateway(base_url, key, models, prices).open(job_id, folder / "model.sock", budget, "dummy") as door:
    ...  # run the agent in its box, with the socket bound into it
door.turns, door.tokens, door.usd, door.trouble, door.transcript()
"""

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import SecretStr

from connectors.claude_prices import Prices
from connectors.claude_profile import Profile
from connectors.gateway_door import Door
from connectors.gateway_server import LEAVE_SECONDS, Server
from connectors.gateway_upstream import Upstream
from connectors.ports import Budget, PortError

CONNECTIONS = 16
"""served at a time; more of them wait"""
CLIENT_SECONDS = 30.0
"""how long a client may neither send nor take anything, and how long it may send its request"""
SOCKET_PATH_CAP = 100
"""bytes; the kernel takes 107"""


class ModelGateway:
    """Gives each job a door of its own. Holds the key; nothing that a client can see does."""

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        models: Collection[str],
        prices: Prices,
        *,
        seconds: float = 600.0,
        client_seconds: float = CLIENT_SECONDS,
        connections: int = CONNECTIONS,
    ):
        """`seconds`: bound of one call. Raises `PortError` for a server, key or model that cannot work."""
        if not models:
            raise PortError("no_models", "the gateway needs a list of models that may be asked")
        self._profile = Profile(base_url=base_url, api_key=api_key, model=min(models), wall_seconds=seconds)
        if without := sorted(model for model in models if prices.of(model) is None):
            raise PortError("no_price", f"no price is known for {', '.join(without)}; give one, 0 for a server of your own")
        self._models, self._prices = frozenset(models), prices
        self._client_seconds, self._connections = client_seconds, connections

    @contextmanager
    def open(self, job_id: str, socket_path: Path, budget: Budget, dummy_key: str) -> Iterator[Door]:
        """Listen for one job. `socket_path`: in a folder that only this job sees, since everybody who sees it may connect.

        Raises `PortError("bad_socket")` when it cannot be listened there, `PortError("bad_key")` for a dummy that is the key.
        """
        key = self._profile.api_key.get_secret_value()
        if not dummy_key or dummy_key in key or key in dummy_key:
            raise PortError("bad_key", "the key inside a box has to be another one than the real key")
        upstream = Upstream(self._profile.base_url, key, self._profile.wall_seconds)
        door = Door(upstream, self._models, self._prices, budget, dummy_key, [key])
        door.log.add("#", f"job {job_id}")
        server = _listen(socket_path, door, self._client_seconds, self._connections)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="model-gateway", daemon=True)
        thread.start()
        try:
            yield door
        finally:
            server.leave()
            thread.join(LEAVE_SECONDS)
            with suppress(OSError):
                socket_path.unlink()


def _listen(path: Path, door: Door, client_seconds: float, connections: int) -> Server:
    if len(os.fsencode(path)) > SOCKET_PATH_CAP:
        raise PortError("bad_socket", f"the path of the gateway's socket has to be {SOCKET_PATH_CAP} bytes at most")
    try:
        server = Server(str(path), door, client_seconds, connections)
        path.chmod(0o666)  # the box runs as another user; the folder is the job's own
    except OSError as error:
        raise PortError("bad_socket", f"the gateway cannot listen at its socket: {error.strerror}") from None
    return server
