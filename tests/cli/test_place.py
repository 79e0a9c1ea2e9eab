"""Where the requests of an account go."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli.options import ServiceOptions
from runner.cli.place import choose_place
from runner.errors import UsageError
from runner.project import init_project
from runner.providers.mesh import MESH
from runner.providers.openai import OPENAI


def test_the_option_stands_above_the_environment_and_that_above_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = init_project(tmp_path)
    for named, option, origin in (
        ("https://b.example/", "https://a.example", "https://a.example"),
        ("https://b.example/", None, "https://b.example"),
        ("", None, "https://api.meshapi.ai"),
    ):
        monkeypatch.setenv("MESHAPI_BASE_URL", named)
        assert choose_place(MESH, project, ServiceOptions(base_url=option)).origin == origin
    with pytest.raises(UsageError, match="--base-url"):
        choose_place(MESH, project, ServiceOptions(base_url="http://a.example"))


def test_a_service_without_an_address_of_its_own_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = init_project(tmp_path)
    monkeypatch.delenv("OPENAI_VIDEOS_BASE_URL", raising=False)
    with pytest.raises(UsageError, match="openai has no address of its own"):
        choose_place(OPENAI, project, ServiceOptions())
    at = choose_place(OPENAI, project, ServiceOptions(base_url="http://127.0.0.1:8000"))
    assert at.url == "http://127.0.0.1:8000/v1"
