"""The sandbox against the services' OpenAPI documents, driven by schemathesis.

It runs as a process of its own: its pytest plugin and its warnings are none of this suite's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.sandbox_requests import connect

WIRE = Path(__file__).parents[1] / "wire"
EXAMPLES = 10
"""Fuzzed requests for each operation, beside those that schemathesis derives from the document."""

ENVELOPE = {
    "type": "object",
    "required": ["error", "request_id"],
    "additionalProperties": False,
    "properties": {
        "request_id": {"type": "string", "minLength": 1},
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "minLength": 1},
                "message": {"type": "string", "minLength": 1},
                "details": {"type": "array", "items": {"type": "object"}},
                "provider_code": {"type": "string"},
                "retry_after_seconds": {"type": "integer", "minimum": 0},
            },
            "additionalProperties": False,
        },
    },
}
"""The error of Mesh's guide, which its OpenAPI document leaves out."""
GENERAL = ("401", "422", "429")
"""What the guide says that any of Mesh's routes may answer; the document names it for the POST alone."""


def mesh_document() -> dict[str, Any]:
    """Mesh's own document, with the errors that its guide adds."""
    document: dict[str, Any] = yaml.safe_load((WIRE / "mesh-video-openapi.yaml").read_text(encoding="utf-8"))
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            for status in GENERAL:
                responses.setdefault(status, {"description": "error"})
            for status in [each for each in responses if each.startswith("5")]:
                del responses[status]  # documented, and yet none that a sound sandbox may give by itself
            for status, response in responses.items():
                if status not in ("200", "413"):
                    response["content"] = {"application/json": {"schema": ENVELOPE}}
    return document


def getimg_document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((WIRE / "getimg-openapi.yaml").read_text(encoding="utf-8"))
    return document


def with_examples(
    document: dict[str, Any], path: str, request: dict[str, Any], task_id: str
) -> dict[str, Any]:
    """The document with a request that is accepted and the id of a finished task, to start from."""
    content = document["paths"][path]["post"]["requestBody"]["content"]
    content["application/json"]["example"] = request
    (of_a_task,) = (item for name, item in document["paths"].items() if name.startswith(path + "/"))
    of_a_task["get"]["parameters"][0]["example"] = task_id
    return document


@pytest.mark.evidence
@pytest.mark.parametrize(
    ("document", "path", "request_body", "excluded"),
    [
        pytest.param(
            mesh_document(),
            "/v1/video/generations",
            {"model": "byteplus/seedance-1-0-pro", "content": [{"type": "text", "text": "A teapot"}]},
            ["positive_data_acceptance"],
            id="mesh",
        ),
        pytest.param(
            getimg_document(),
            "/v2/videos/generations",
            {"model": "seedance-v1-pro", "prompt": "A teapot"},
            # any key is taken at getimg's side, for the service says nothing of the form of its keys
            ["positive_data_acceptance", "ignored_auth"],
            id="getimg",
        ),
    ],
)
def test_the_sandbox_answers_as_the_document_says(
    document: dict[str, Any], path: str, request_body: dict[str, Any], excluded: list[str], tmp_path: Path
) -> None:
    """Some requests that fit a document must be refused, so that acceptance of them is not asked for."""
    with SandboxServer(SandboxConfig(latency=(0.0, 0.0), scale=0.05)) as server:
        with connect(server) as client:
            task_id = client.post(path, json=request_body).raise_for_status().json()["id"]
        file = tmp_path / "openapi.yaml"
        text = yaml.safe_dump(with_examples(document, path, request_body, task_id))
        file.write_text(text, encoding="utf-8")
        told = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", server.url),
                *("--header", f"Authorization: Bearer {SANDBOX_KEY}"),
                *("--exclude-checks", ",".join(excluded)),
                *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
                *("--seed", "1", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        accepted = server.accepted
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert accepted > 1, told.stdout
