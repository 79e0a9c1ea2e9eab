"""callsheet: declarative runs of paid, asynchronous video-generation APIs.

The public API is `load_job`, `make_plan`, `run_plan` and `__version__`; each name is loaded when it is
used. docs/how-to/python.md has an example.
"""

from __future__ import annotations

# mypy reads this name as `typing.TYPE_CHECKING`, whose import `--version` can do without
TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.api import run_plan
    from runner.job.load import load_job
    from runner.plan.plan import make_plan

__version__ = "0.1.0"

__all__ = ["__version__", "load_job", "make_plan", "run_plan"]

_HOMES = {"load_job": "runner.job.load", "make_plan": "runner.plan.plan", "run_plan": "runner.api"}


def __getattr__(name: str) -> object:
    """Loads a name of the public API (PEP 562), so that `callsheet --version` loads none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # imported here: a bare start does not load `importlib`, and `--version` imports this package
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
