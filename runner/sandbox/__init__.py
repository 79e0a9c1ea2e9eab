"""A local server that speaks the services' wire protocols and renders real MP4s.

    with SandboxServer(SandboxConfig(latency=(0.0, 0.0))) as server:
        httpx.get(server.url + "/v1/video/generations", headers={"Authorization": f"Bearer {SANDBOX_KEY}"})

Imports nothing else of runner: shared wire code would prove `providers` only against itself.
Today it speaks Mesh's side (`mesh_*`); a second service is one more `*_routes` in `app`, beside
the same store, faults, files and renderer.
"""

from runner.sandbox.config import SANDBOX_KEY, SandboxConfig, SandboxUnavailable
from runner.sandbox.faults import Fault, FaultPlan, Kind, Stage, Where
from runner.sandbox.server import SandboxServer, serve
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
