"""Content items: their payload, and local files that they name, found below the root and read once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from runner.job.expressions.expressions import has_expression
from runner.job.files.lost_inputs import did_you_mean_file, is_lfs_pointer
from runner.job.files.object_inputs import ObjectInputs
from runner.job.merge import StepKeys
from runner.job.problems import Checked, InvalidValueError, ProblemError
from runner.job.yaml.nodes import Location, Node, Scalar, items_of, text_of
from runner.job.yaml.nodes import Mapping as MappingNode
from runner.json_value import JsonValue
from runner.media.boxes import NotMediaError
from runner.media.images import measure
from runner.media.video import probe
from runner.objects.address import is_object
from runner.providers.base import INPUT_SCHEME, KEY_SCHEME, InputFile
from runner.providers.provider import Provider

_CHUNK = 1 << 20
_HEAD = 64
_MOST_OF_A_KEY = 200
_DIGEST = re.compile("[0-9a-fA-F]{64}")
_MOST_LOOKED_AT = 64 << 20
"""Bytes of an image that are read at once."""

_KINDS = {"image_url": "image", "video_url": "video", "audio_url": "audio"}
FILES = frozenset(_KINDS)
"""The types of items whose payload is a file or a URL."""
_PAYLOAD_KEY = {"draft_task": "id"}
_RELATIVE = "input paths are relative to the job file"


class InputError(InvalidValueError):
    """A file or URL that the service cannot be given."""


def is_remote(text: str) -> bool:
    """Whether a content item's URL goes to the service as it is: https and data, nothing else."""
    return text[:8].casefold() == "https://" or text[:5].casefold() == "data:"


def check_remote(text: str) -> None:
    """Raises InputError for a data URI without data, and an https URL without host or with a password."""
    if text[:5].casefold() == "data:":
        if "," not in text:
            raise InputError("a data URI without data", "data:image/png;base64,...")
        return
    try:
        parts = urlsplit(text)
        host, user = parts.hostname, parts.username
    except ValueError:
        host, user = None, None
    if not host or any(character.isspace() or not character.isprintable() for character in text):
        raise InputError("not a URL that a service could fetch", "https://host/path")
    if user is not None:
        raise InputError("a URL with a user name or password", "give a URL that anybody can fetch")


def name_of_key(value: JsonValue) -> str:
    """What stands for an address whose `key` is `value`. Raises InputError."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    name = unicodedata.normalize("NFC", text)
    if not 0 < len(name) <= _MOST_OF_A_KEY or name != name.strip() or not name.isprintable() or "://" in name:
        told = f"a key is a name of 1 to {_MOST_OF_A_KEY} characters that stays the same, and no address"
        raise InputError(told, "for example lake-day")
    return KEY_SCHEME + name


def name_of_digest(value: JsonValue) -> str:
    """What stands for an address at which a file of this sha256 lies. Raises InputError."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InputError("a sha256 has 64 hex digits", "`sha256sum FILE` prints it")
    return INPUT_SCHEME + value.lower()


class InputReader:
    """Reads each input of one job once. `directory` is the job file's; nothing outside `root` is read.

    `most_bytes` of one file are those of `ServiceLimits.files`. `has_uploads`: the project has a place for
    files that a service takes by their URL alone. `objects` are those in object storage.
    """

    def __init__(
        self,
        root: Path,
        directory: Path,
        most_bytes: Mapping[str, int],
        *,
        has_uploads: bool = False,
        objects: ObjectInputs | None = None,
    ) -> None:
        self.has_uploads, self.objects = has_uploads, objects
        self._most_bytes = most_bytes
        self._root = root.resolve()
        self._directory = directory.resolve()
        self._files: dict[tuple[str, str], InputFile] = {}

    def read(self, text: str, kind: str) -> InputFile:
        """The file that an item of type `kind` names. Raises InputError."""
        key = (text, kind)
        if key not in self._files:
            self._files[key] = self._read(text, kind)
        return self._files[key]

    def _read(self, text: str, kind: str) -> InputFile:
        path = self._find(text)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            message = f"{_shown(text)}: no such file (looked for {_shown(str(path))})"
            hint = did_you_mean_file(text, self._directory, self._root) or _RELATIVE
            raise InputError(message, hint, is_missing_input=True) from None
        except OSError as error:
            message = f"{_shown(text)}: cannot read it: {error.strerror}"
            raise InputError(message, is_missing_input=True) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputError(f"{_shown(text)}: not a file")
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            sha256, size, head = _digest(file, text, self._most_bytes.get(kind))
            media_type = sniff(head)
            pixels, trouble = _look_into(file, size, media_type)
        if is_lfs_pointer(head):
            message = f"{_shown(text)}: a Git LFS pointer stands here, not the file itself"
            raise InputError(message, "run `git lfs pull`", is_missing_input=True)
        if not media_type.startswith(f"{_KINDS[kind]}/"):
            found = media_type or "not an image, video or audio that the service knows"
            raise InputError(f"{_shown(text)}: {kind} needs {_KINDS[kind]}; its content is {found}")
        return InputFile(sha256, media_type, size, path, pixels, trouble)

    def _find(self, text: str) -> Path:
        if "://" in text:
            scheme = text.split(":", 1)[0]
            raise InputError(
                f"{_shown(scheme)}:// URLs are not supported", "use https, data, s3, gs, az, or a local file"
            )
        if not text.strip() or "\0" in text:
            raise InputError("empty; a file or URL is needed")
        if Path(text).is_absolute():
            raise InputError(f"{_shown(text)}: an absolute path", _RELATIVE)
        try:
            path = (self._directory / text).resolve()
        except (OSError, RuntimeError):
            raise InputError(f"{_shown(text)}: cannot be resolved") from None
        if not path.is_relative_to(self._root):
            message = f"{_shown(text)}: outside the project root"
            raise InputError(message, "copy it below the root; a link is not enough")
        return path


def _digest(file: FileIO, text: str, most: int | None) -> tuple[str, int, bytes]:
    """(sha256, size, first bytes). Raises InputError for more than `most` bytes."""
    digest, size, head = hashlib.sha256(), 0, b""
    while chunk := file.read(_CHUNK):
        head = head or chunk[:_HEAD]
        digest.update(chunk)
        size += len(chunk)
        if most is not None and size > most:
            message = f"{_shown(text)}: larger than the {most / 1e6:.3g} MB that the service takes"
            raise InputError(message, "make it smaller, or give an https URL")
    return digest.hexdigest(), size, head


def look_at_image(data: bytes, media_type: str) -> tuple[tuple[int, int] | None, str]:
    """(width and height, what is wrong) of an image; None and nothing for a format that is not known."""
    try:
        size = measure(data, media_type)
    except NotMediaError as error:
        return None, str(error)
    return (size.width, size.height) if size is not None else None, ""


def decode_data_uri(text: str) -> bytes | None:
    """The bytes of a data URI of an image; None for anything else."""
    if text[:11].casefold() != "data:image/":
        return None
    head, _, payload = text.partition(",")
    content = unquote_to_bytes(payload)
    if not head.casefold().endswith(";base64"):
        return content
    try:
        return base64.b64decode(content)
    except binascii.Error:
        return b""


def _look_into(file: FileIO, size: int, media_type: str) -> tuple[tuple[int, int] | None, str]:
    """As `look_at_image`, of an image or a video; of another file nothing."""
    file.seek(0)
    if media_type.startswith("image/") and size <= _MOST_LOOKED_AT:
        return look_at_image(file.readall(), media_type)
    if media_type == "video/mp4":
        try:
            probe(file)
        except NotMediaError as error:
            return None, str(error)
    return None, ""


def find_payload(item: Node) -> tuple[str, Node] | None:
    """(type, payload) of a content item; None if the schema has refused it."""
    kind_node = item.get("type") if isinstance(item, MappingNode) else None
    if not isinstance(item, MappingNode) or not isinstance(kind_node, Scalar):
        return None
    kind = str(kind_node.value)
    payload = item.get(kind)
    if isinstance(payload, MappingNode):
        payload = payload.get(_PAYLOAD_KEY.get(kind, "url"))
    return (kind, payload) if payload is not None else None


def resolve_url(
    text: str, kind: str, location: Location, *, provider: Provider, reader: InputReader
) -> InputFile | None:
    """The local file that an item of type `kind` names; None for a URL. Raises ProblemError."""
    is_stored = is_object(text) and reader.objects is not None
    if refused := provider.dialect.refuse_url("https://store.invalid/object" if is_stored else text):
        raise ProblemError(location.error(*refused))
    try:
        if is_stored and reader.objects is not None:
            reader.objects.check(text)
            return None
        if is_remote(text):
            check_remote(text)
            return None
        if text.startswith(provider.dialect.address_schemes):
            return None
        file = reader.read(text, kind)
    except InvalidValueError as error:
        raise ProblemError(error.at(location)) from None
    if reader.has_uploads and provider.dialect.is_by_url(file):
        return file
    if refused := provider.dialect.refuse_file(file):
        raise ProblemError(location.error(*refused))
    return file


def check_inputs(steps: Iterable[StepKeys], *, provider: Provider, reader: InputReader) -> Checked[None]:
    """Checks each file and URL that is written without an expression."""
    for keys in steps:
        for item in items_of(keys.get("content")):
            found = find_payload(item)
            if found is None:
                continue
            kind, payload = found
            text = text_of(payload)
            if kind not in FILES or text is None or has_expression(text):
                continue
            try:
                resolve_url(text, kind, payload.location, provider=provider, reader=reader)
            except ProblemError as error:
                yield from error.problems


def sniff(head: bytes) -> str:
    """The media type, from a file's first bytes (at least 16 if it has them); empty if unknown."""
    for offset, magic, media_type in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return media_type
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    return ""


_MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"moov", "video/quicktime"),
    (4, b"wide", "video/quicktime"),
)
_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "",
    b"avif": "",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1", b"heif"), "image/heif"),
}


def _shown(text: str) -> str:
    """A path for people: short, with control characters escaped."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped if len(escaped) <= 200 else f"{escaped[:200]}..."
