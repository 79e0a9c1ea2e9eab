"""What can make a video at a service: its official client from PyPI, as it is installed, and callsheet.

Each module says `CLIENT`: to add one, add a module, and run `python scripts/clients_table.py`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Create = Callable[[str, float, Path], str]
"""Asks for one video: at the sandbox of this URL, with these seconds as the timeout for an answer, and all
else as the client has it by itself. The directory is for what it keeps. Gives the id of the task, or the name
of its file.
"""


@dataclass(frozen=True, slots=True)
class PostingClient:
    """`distribution` is its name on PyPI, `provider` the service that it asks."""

    distribution: str
    provider: str
    create: Create


def names() -> list[str]:
    """The modules here, one for each client."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
