"""A local server that speaks the services' wire protocols and renders real MP4s.

    with SandboxServer(SandboxConfig(latency=(0.0, 0.0))) as server:
        httpx.get(server.url + "/v1/video/generations", headers={"Authorization": f"Bearer {SANDBOX_KEY}"})

Imports nothing else of runner: shared wire code would prove `providers` only against itself.
Each service's side is in the file of its name, over one store and renderer and one set of faults.

    Exception
    ├── BadItem                one item of a request's content is wrong
    ├── RangeNotSatisfiable    a range that the file does not have
    ├── Refusal                the answer to a request that is not taken
    │   └── _TooMany           the 429 for too many requests in a minute
    └── RuntimeError
        └── SandboxUnavailable    the sandbox cannot be started
"""

from runner.sandbox.config import SANDBOX_KEY, SandboxConfig, SandboxUnavailable
from runner.sandbox.faults import Fault, FaultPlan, Kind, Stage, Where
from runner.sandbox.serving.server import SandboxServer, serve
from runner.sandbox.store import AcceptedTask

__all__ = [
    "SANDBOX_KEY",
    "AcceptedTask",
    "Fault",
    "FaultPlan",
    "Kind",
    "SandboxConfig",
    "SandboxServer",
    "SandboxUnavailable",
    "Stage",
    "Where",
    "serve",
]
