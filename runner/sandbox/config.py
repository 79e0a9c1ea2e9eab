"""What a sandbox is told before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SANDBOX_KEY = "rsk_sandbox"
"""A key that every sandbox accepts, for rehearsals that have none of their own."""

KEY_PREFIX = "rsk_"


class SandboxUnavailable(RuntimeError):  # noqa: N818 - the name is part of the public interface
    """A package that the sandbox needs is not installed; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`port` 0 takes any free port. All times are seconds.

    `provider` names the service that will be asked for; None: any that is installed.

    `latency` is the shortest and the longest life of a task, from acceptance to its terminal
    state; `seed` decides each task's share and what the service picks by itself. `scale` shrinks
    rendered pixels only. `rpm` is the requests that one key may make in `rate_window`, 0 for no limit.
    `store` is the SQLite file that keeps accepted tasks, None keeps them in memory; rendered
    files lie beside it. `spend_cap` is how many tasks are accepted before 402. `shared_list`
    shows every key all tasks. `max_body` is the largest request in bytes (wire/mesh-api.md: a
    hard 32 MiB at the edge). `public_url` begins the URLs of files where the server stands behind
    another one, empty for its own. `cache_bytes` bounds the rendered files that are kept.
    """

    provider: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    latency: tuple[float, float] = (1.0, 3.0)
    scale: float = 0.25
    rpm: int = 0
    rate_window: float = 60.0
    store: Path | None = None
    seed: int = 0
    spend_cap: int | None = None
    shared_list: bool = False
    url_ttl: float = 86_400.0
    max_body: int = 33_554_432
    public_url: str = ""
    cache_bytes: int = 1 << 30
    render_threads: int = 2

    def __post_init__(self) -> None:
        shortest, longest = self.latency
        if not 0 <= shortest <= longest:
            raise ValueError(f"latency {shortest}..{longest}: give 0 <= shortest <= longest")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale {self.scale}: give a number above 0 and at most 1")
        if self.rpm < 0:
            raise ValueError(f"rpm {self.rpm}: give 0 for no limit, or a positive number")
