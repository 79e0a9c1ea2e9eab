"""Local files in a request: as data URIs, which both services take."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from runner.json_value import JsonValue
from runner.providers.base import INPUT_SCHEME, InputFile, ReadInput


def wire_url(url: JsonValue, files: Mapping[str, InputFile], read_input: ReadInput) -> JsonValue:
    """The URL as it is sent; `files` are the task's inputs by reference.

    Raises ValueError for a reference to a file that is not among them.
    """
    if not isinstance(url, str) or not url.startswith(INPUT_SCHEME):
        return url
    file = files.get(url)
    if file is None:
        raise ValueError(f"{url} is not among the task's inputs")
    return f"data:{file.media_type};base64,{base64.b64encode(read_input(file)).decode()}"
