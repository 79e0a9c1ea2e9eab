"""Clipworks takes one prompt and no images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runner.json_value import JsonValue
from runner.providers.dialect import Content, ContentFacts, Dialect, Refusal, Request, RequestPath


class ClipworksDialect(Dialect):
    def request(self, fields: Request, content: Content) -> Request:
        return {**fields, "prompt": "\n".join(str(item["text"]) for item in content)}

    def texts(self, request: Mapping[str, JsonValue]) -> Iterator[tuple[RequestPath, str]]:
        yield ("prompt",), str(request["prompt"])

    def refuse_content(self, items: Sequence[ContentFacts]) -> Iterator[Refusal]:
        if not items:
            yield Refusal(("content",), "clipworks needs a prompt", "add {type: text, text: A teapot spins}")
        for number, item in enumerate(items):
            if item.kind != "text":
                yield Refusal(("content", number), f"clipworks takes no {item.kind}", "remove it")
