"""Fixtures for every test: both event loops, and a home directory that nothing may touch."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The async suite runs on both backends that the engine promises."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the developer's keys or home directory."""
    for name in (
        "MESHAPI_API_KEY",
        "MESHAPI_TOKEN",
        "MESHAPI_BASE_URL",
        "GETIMG_API_KEY",
        "GETIMG_AI_BASE_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(Path(tmp_path_factory.getbasetemp()) / "home"))
