"""Requests to send, and what comes of them."""

from __future__ import annotations

import base64
import io
import ssl
from typing import Any

import httpx
from PIL import Image

from runner.sandbox import SANDBOX_KEY, SandboxServer

PATH = "/v1/video/generations"
SEEDED = "byteplus/seedance-1-0-pro"
SOUNDING = "byteplus/dreamina-seedance-2-0"
DRAFTED = "byteplus/dreamina-seedance-2-5"
SHORT = "seedance-1-0-pro-250428"


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of loopback: loading the machine's certificates costs 25 ms each time."""


def connect(server: SandboxServer, key: str = SANDBOX_KEY) -> httpx.Client:
    """A client that holds the key."""
    return httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=10, verify=NO_TLS
    )


def get_file(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """A GET without a key."""
    return httpx.get(url, headers=headers, verify=NO_TLS, timeout=10)


def body(prompt: str = "A teapot spins", model: str = SHORT, **fields: Any) -> dict[str, Any]:
    """A valid request; two seconds long where the model has such short ones."""
    length = {} if model != SHORT or "frames" in fields else {"duration": 2}
    return {"model": model, "content": [{"type": "text", "text": prompt}], **length, **fields}


def create(client: httpx.Client, prompt: str = "A teapot spins", **fields: Any) -> str:
    """The id of a new task."""
    answer = client.post(PATH, json=body(prompt, **fields))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def get(client: httpx.Client, task_id: str) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{task_id}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def listed(client: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def image_item(
    width: int = 640, height: int = 360, colour: str = "red", role: str | None = None, form: str = "PNG"
) -> dict[str, Any]:
    """An image_url item that holds a plain image."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, format=form)
    data = base64.b64encode(file.getvalue()).decode()
    item: dict[str, Any] = {
        "type": "image_url",
        "image_url": {"url": f"data:image/{form.lower()};base64,{data}"},
    }
    return item if role is None else {**item, "role": role}
