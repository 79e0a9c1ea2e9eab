"""The one place that takes secrets out of what is written down (docs/reference/manifest.md).

A URL loses its user info, query and fragment: signed URLs carry their signature there. A data URI
becomes `data:<type>;sha256=<hex>;bytes=<n>`, over the decoded bytes. Bearer keys, keys of the
services' known forms, and the keys that a `Redactor` is made with become `[secret]`.

Not a scanner's patterns, such as detect-secrets': those find any service's keys, and a prompt that looks
like one has to stay as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, unquote_to_bytes

from runner.json_value import JsonValue
from runner.typed_json import members

REMOVED = "[secret]"

_ENCODER = json.JSONEncoder(ensure_ascii=False, default=members)

_DATA_URI = re.compile(r"(?is)\s*data:([^,;]*)((?:;[^,;]*)*),(.*)")
# inside other text a type or a parameter is asked for, so that prose is left alone; what can be
# repeated before the end of a match is bounded, or a hostile text would cost its square
_DATA_URI_WITHIN = re.compile(
    r"(?i)data:([\w.+-]{1,80}/[\w.+-]{1,80}|(?=;))((?:;[^\s,;\"'<>]{0,200}){0,8}),([^\s\"'<>]*)"
)
_BASE64 = re.compile(r"(?i)(;base64,)(?!\[)[^\s\"'<>]+")
_URL = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,30}://)([^\s\"'<>]*)")
_QUERY = re.compile(r"(?<=\S)\?[\w%.~\[\]-]+=[^\s\"'<>]*")
_KEY = re.compile(
    r"(?i)rsk_[\w-]+|\bkey-[a-z0-9]{20,}"
    r"|(?<![\w-])(?:sk[_-](?:[a-z0-9]{2,12}[_-])?|r8_)(?=[a-z]{0,64}[0-9])[a-z0-9]{20}[\w-]*"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9a-f]{32}\b"
)
_BEARER = re.compile(r"(?i)(bearer\s+)[a-z0-9._~+/=-]{16,}")
_NAMED = re.compile(
    r"(?i)((?:authorization|x-api-key|api[-_]?key|(?:api|access)[-_]?token|x-amz-[a-z-]{1,40}|signature)"
    r"(?:[\"']?\s*:\s*|=)[\"']?)(?!bearer\s|unknown key `)[^\s\"'&<>]+"
)
_IN_PLACE_OF_A_NAME = re.compile(r"(?i)(_env[\"']?\s*:\s*[\"']?)(?=\w{0,200}[^\w\s\"',}])[^\s\"'<>,}]+")
"""Where the name of a variable belongs, what is not one may be the key itself, whatever it looks like."""
# every pattern above needs one of these; `key-` and `bearer ` the last
_MAY_HOLD_A_SECRET = re.compile(r"[:?=]|[rR][sS][kK]_|\b[sS][kK][_-]|[rR]8_|[yY]-|[rR]\s")
# the categories Cc, Cf, Cs, Zl and Zp of Unicode 14 and 16
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]"
)


def escape(text: str) -> str:
    """`text` with control, escape and bidirectional characters as backslash escapes."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """`value`, plain or dataclasses, as JSON that is safe to print: what `escape` escapes is written as
    JSON's own \\u escape. Nothing is lost by that: a reader gets the same text.
    """
    if indent is None:
        return json_safe(_ENCODER.encode(value))
    return json_safe(json.dumps(value, ensure_ascii=False, indent=indent, default=members))


def json_safe(document: str) -> str:
    """The JSON `document`, safe to print, with the same meaning."""
    if document.isascii() and "\x7f" not in document:
        return document  # JSON has escaped the rest
    # a line break between members is not part of a text
    return _UNSEEN.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], document)


def printable(text: str) -> str:
    """Text from a file or the ledger, for the screen: without what looks like a secret, and safe to print."""
    # escaped first: a control character must not end a URL before its query
    return _without_secrets(escape(text))


def printable_value(value: object) -> JsonValue:
    """A JSON value without secrets, keys included; anything else becomes text."""
    return _walk(value, printable)


class Redactor:
    """Takes secrets out of what a process with a key writes; its `keys` are replaced wherever they stand."""

    def __init__(self, keys: Iterable[str]) -> None:
        known = {key for key in keys if key}
        # longest first: one secret may begin with another
        self._known = sorted(known | {quote(secret, safe="") for secret in known}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` without secrets, otherwise as it was."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, REMOVED)
        return _without_secrets(text)

    def foreign_text(self, text: str) -> str:
        """Text that a service, a person or an exception gave: without secrets, and safe to print."""
        return self.text(escape(text))

    def value(self, value: object) -> JsonValue:
        """A JSON value of ours without secrets; what is not JSON is told as text."""
        return _walk(value, self.text)

    def foreign_value(self, value: object) -> JsonValue:
        """As `value`, for what came from elsewhere: safe to print too, keys included."""
        return _walk(value, self.foreign_text)


def _without_secrets(text: str) -> str:
    # a manifest of 100,000 tasks asks five million times, mostly of words, numbers and digests
    if text.isalnum() or not _MAY_HOLD_A_SECRET.search(text):
        return text
    if whole := _DATA_URI.fullmatch(text):
        return _digest_of_data_uri(whole)
    text = _DATA_URI_WITHIN.sub(_digest_of_data_uri, text)
    text = _BASE64.sub(rf"\1{REMOVED}", text)
    text = _URL.sub(_bare_url, text)
    text = _QUERY.sub("", text)
    text = _BEARER.sub(rf"\1{REMOVED}", text)
    text = _NAMED.sub(rf"\1{REMOVED}", text)
    text = _IN_PLACE_OF_A_NAME.sub(rf"\1{REMOVED}", text)
    return _KEY.sub(REMOVED, text)


def _walk(value: object, clean: Callable[[str], str]) -> JsonValue:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _walk(item, clean) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, clean) for item in value]
    return clean(str(value))


def _bare_url(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    return f"{scheme}{authority.rpartition('@')[2]}{slash}{path}"


def _digest_of_data_uri(match: re.Match[str]) -> str:
    kind, parameters, payload = match.groups()
    content = unquote_to_bytes(payload)
    if parameters.lower().endswith(";base64"):
        try:
            content = base64.b64decode(content)
        except binascii.Error:
            parameters = ""
    return f"data:{kind.strip()};sha256={hashlib.sha256(content).hexdigest()};bytes={len(content)}"
