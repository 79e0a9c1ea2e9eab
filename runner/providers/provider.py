"""What a provider says of itself: data, so that no plan, run or verb knows a service by name."""

from __future__ import annotations

import base64
import enum
import functools
import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import KeyRefusedError
from runner.http.access import NO_KEY, ApiKey
from runner.http.answers import read_count
from runner.json_value import JsonValue
from runner.providers.base import (
    INPUT_SCHEME,
    KEY_SCHEME,
    Body,
    Client,
    GenerationStatus,
    InputFile,
    ReadInput,
    RemoteFileKind,
)
from runner.providers.dialect import Dialect
from runner.providers.failures import Cause
from runner.providers.models import Catalogue, load_catalogue

if TYPE_CHECKING:
    from runner.http.free import FreeRequests
    from runner.http.paid import PaidRequests


class Echo(enum.Enum):
    """How much a request's field proves when a generation comes back with it."""

    TAG = enum.auto()
    """Whose generation it is, once the service is known to repeat the tag."""
    SEED = enum.auto()
    """Whose generation it is, on a model that honours seeds."""
    FORBIDS = enum.auto()
    """Another value than the one sent: not this submit's generation."""
    NOTED = enum.auto()
    """Nothing; it is recorded."""
    INPUT = enum.auto()
    """The field is a part of the request that comes back whole: with an equal one, and no rival, whose it
    is."""


@dataclass(frozen=True, slots=True)
class TagField:
    """A field of the request that changes nothing and comes back: it carries a number of ours.

    What is sent is `default` less the tag; with a `prefix` it is a text, the tag in hexadecimal after it.
    Tags are `least` to `count` - 1: 0 would send the service's own default, whose echo proves nothing. With
    `most_open` of them in doubt no submit gets one. Fields among which an account may choose have no tag in
    common, so that a tag tells which of them it stood in.
    """

    field: str
    default: int
    count: int
    most_open: int
    prefix: str = ""
    least: int = 1

    @property
    def tags(self) -> range:
        """Those that a submit may have."""
        return range(self.least, self.count)

    def value(self, tag: int) -> int | str:
        """The value to send for `tag`. Raises ValueError for a tag that is out of range."""
        if not 0 <= tag < self.count:
            raise ValueError(f"tag {tag} is not in 0..{self.count - 1}")
        return f"{self.prefix}{tag:x}" if self.prefix else self.default - tag

    def read(self, value: JsonValue) -> int | None:
        """The tag that came back as `value`, which may be another than any that is sent; None for nothing.

        A text that is not one of ours is 0, as the service's own default is.
        """
        if not self.prefix:
            seconds = read_count(value)
            return None if seconds is None else self.default - seconds
        if not isinstance(value, str) or not value:
            return None
        digits = value.removeprefix(self.prefix)
        is_ours = value.startswith(self.prefix) and re.fullmatch(r"[1-9a-f][0-9a-f]{0,15}", digits)
        tag = int(digits, 16) if is_ours else 0
        return tag if tag < self.count else 0


class ListKind(enum.Enum):
    """How a list is read to its end, and what it shows."""

    PAGES = enum.auto()
    """By the number of rows that were read; a `total` says how many there are."""
    CURSOR = enum.auto()
    """Each page leads to the next one."""
    HISTORY = enum.auto()
    """As CURSOR, and it shows only what has ended: a missing row may be at work, so nothing is absent."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The service lists its generations, newest first, page by page.

    `scope_field` is a field of the request whose values a list may keep apart; empty where there is none.
    `by_model`: each model has a list of its own. `page` are the most rows of a page. `window` is how many
    seconds the list reaches back, None for a record's life; `interval` the least seconds between two pages.
    `is_ordered`: the service says that the newest come first, so a page of older rows than are looked for is
    the last that matters.
    """

    scope_field: str = ""
    scope_default: str = "default"
    kind: ListKind = ListKind.PAGES
    by_model: bool = False
    page: int = 200
    window: float | None = None
    interval: float = 0.0
    is_ordered: bool = False

    def scope(self, request: Mapping[str, JsonValue]) -> str:
        """Which part of the list shows the generation of `request`."""
        value = request.get(self.scope_field)
        return self.scope_default if value is None else str(value)


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """A service's limits for every model: bytes of a body, characters of a prompt, images.

    `large_body` are the bytes that it may refuse. `files` are the most bytes of one local file by the type
    of its content item, such as image_url. None, or no entry, where no limit is known.
    """

    body: int
    large_body: int
    prompt: int | None = None
    images: int | None = None
    files: Mapping[str, int] = field(default_factory=dict)


MakeClient = Callable[
    ["PaidRequests", "FreeRequests", Callable[[], float], Mapping[str, "FreeRequests"]], Client
]
"""Makes a client out of the two kinds of requests, a wall clock in Unix seconds, and free requests to the
provider's further hosts by their role.
"""


def client_of(where: str, **settings: object) -> MakeClient:
    """Makes the client that `where` names, `package.module:Class`, with these fields of its own.

    It is imported when a connection is opened: httpx takes 80 ms, and most verbs send nothing.
    """
    module, _, name = where.partition(":")

    def make(
        paid: PaidRequests, free: FreeRequests, wall: Callable[[], float], hosts: Mapping[str, FreeRequests]
    ) -> Client:
        made = getattr(importlib.import_module(module), name)(paid, free, wall, hosts, **settings)
        assert isinstance(made, Client)
        return made

    return make


@dataclass(frozen=True, kw_only=True, eq=False)
class Provider:
    """A service. One folder and one line in the registry each.

    `key_variables` are asked in order; `url_variable` replaces `origin`. `folder` holds the request's
    JSON Schema and models.yaml. `record_life` is for how many seconds the service keeps a task's record,
    `url_life` for how many a result's URL works.

    `content_fields` are the request's fields that `content:` fills, each with the type of its items, where
    an empty type takes all. `not_in_identity` are fields that do not change the picture. `makes` is, for an
    output that another step can take, the field that a step must set to have it. `chosen_by_service` are
    values in whose place the service echoes one of its own choice. `publishes_models`: the service can be
    asked for its models and prices. `usual_seconds` are the least, the median and the most of a published
    run. `causes` says what the codes of failures mean, in lower case, with `*`.

    `origin` is empty for a service that runs where an account's `base_url` says. `base_path` stands between
    the origin and every path. `hosts` are further origins by role; each gets the key, and where `origin` is
    replaced all of them are. `key_scheme` is the word before the key; without `needs_key` there may be none.
    `dialects` are the provider as it speaks to each kind of server that an account may name, and `tags` the
    tag fields that an account may choose in place of `tag`. `keyed_files`: results lie at the service's own
    origin, which wants the key for them. `takes_uploads`: a local file goes first, by `Client.upload`.
    `free_ends` are ends of a generation that cost nothing by the service's own word.
    `upload_paths` are where POSTs cost nothing, at any of its hosts; no submit goes there.
    `signs_callbacks`: a call that `Client.is_signed` does not know is no hint. `tells_costs`: the client can
    be asked for the balance and for what was spent. `longest_wait` is for how many seconds a task may wait
    before its inputs are read, unless the request's `wait_field` says it; 0 where nobody knows.
    `is_own_server`: it runs on a machine of the user's, who knows its models; they honour seeds, and what
    they make costs nothing.
    """

    name: str
    origin: str
    key_variables: tuple[str, ...]
    url_variable: str
    folder: Path
    dialect: Dialect
    make_client: MakeClient
    limits: ServiceLimits
    record_life: float
    url_life: float
    content_fields: Mapping[str, str] = field(default_factory=lambda: {"content": ""})
    not_in_identity: frozenset[str] = frozenset()
    makes: Mapping[str, str] = field(default_factory=dict)
    echoes: Mapping[str, Echo] = field(default_factory=dict)
    chosen_by_service: frozenset[JsonValue] = frozenset()
    tag: TagField | None = None
    listing: Listing | None = None
    callback_field: str = ""
    publishes_models: bool = False
    usual_seconds: tuple[float, float, float] | None = None
    causes: Mapping[str, Cause] = field(default_factory=dict)
    base_path: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)
    key_scheme: str = "Bearer"
    needs_key: bool = True
    dialects: Mapping[str, Provider] = field(default_factory=dict)
    tags: Mapping[str, TagField] = field(default_factory=dict)
    keyed_files: bool = False
    takes_uploads: bool = False
    upload_paths: frozenset[str] = frozenset()
    signs_callbacks: bool = False
    tells_costs: bool = False
    longest_wait: float = 0.0
    wait_field: str = ""
    is_own_server: bool = False
    free_ends: frozenset[GenerationStatus] = frozenset()

    @property
    def schema_file(self) -> Path:
        return self.folder / "request.schema.json"

    @functools.cached_property
    def schema(self) -> Mapping[str, Any]:
        """The JSON Schema of the request; shared, so read-only."""
        loaded: dict[str, Any] = json.loads(self.schema_file.read_text(encoding="utf-8"))
        return loaded

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """Its models, with limits and prices."""
        return load_catalogue(self.folder / "models.yaml")

    @functools.cached_property
    def fields(self) -> frozenset[str]:
        """The fields that `request:` and matrix axes may set."""
        return frozenset(self.schema["properties"]) - {"model"} - self.content_fields.keys()

    @property
    def own_tags(self) -> range:
        """The tags of submits whose generations show them where this account reads them."""
        return range(0) if self.tag is None else self.tag.tags

    def own_name(self, name: str, model: str = "") -> str:
        """The field that `name`, a common word or a field, sets, or the word itself where others are made of
        it; empty where the service, or `model`, has nothing for it.
        """
        dialect = self.dialect
        own = dialect.words.get(name, name)
        is_known = own in self.fields or own in dialect.composed
        return own if is_known and own not in dialect.lacks(model) else ""

    def honours_seed(self, model: str) -> bool | None:
        """Whether the same seed gives a similar video again; None where nobody knows."""
        family = self.catalogue.find(model)
        return family.honours_seed if family is not None else self.is_own_server or None

    @functools.cached_property
    def settable(self) -> frozenset[str]:
        """What `request:` and axes may set: its fields, and the common words that it takes."""
        return frozenset(
            filter(self.own_name, self.fields | self.dialect.words.keys() | self.dialect.composed)
        )

    @functools.cached_property
    def defaults(self) -> Mapping[str, JsonValue]:
        """The fields of the picture that the service documents a default for, none of them null."""
        properties: Mapping[str, Mapping[str, JsonValue]] = self.schema["properties"]
        return self.picture(
            {name: each["default"] for name, each in properties.items() if each.get("default") is not None}
        )

    @functools.cached_property
    def input_fields(self) -> frozenset[str]:
        """Fields of the request that come back as they were sent."""
        return frozenset(name for name, echo in self.echoes.items() if echo is Echo.INPUT)

    @functools.cached_property
    def compared(self) -> tuple[str, ...]:
        """Fields whose echo contradicts a request that sent another value."""
        return tuple(name for name, echo in self.echoes.items() if echo is Echo.FORBIDS)

    def picture(self, request: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The part of `request` that makes the picture, and so its identity."""
        return {name: value for name, value in request.items() if name not in self.not_in_identity}

    def wanted(self, request: Mapping[str, JsonValue]) -> frozenset[RemoteFileKind]:
        """The kinds of files that `request` asks for."""
        asks = self.makes.get(RemoteFileKind.LAST_FRAME)
        if asks is not None and request.get(asks) is True:
            return frozenset(RemoteFileKind)
        return frozenset({RemoteFileKind.VIDEO})

    def input_life(self, request: Mapping[str, JsonValue]) -> float:
        """For how many seconds from the submit on the address of an input has to work: for as long as a task
        may wait before it begins, which is a record's life where nobody knows it.
        """
        asked = request.get(self.wait_field) if self.wait_field else None
        least = self.longest_wait or self.record_life
        return max(float(asked), least) if isinstance(asked, (int, float)) else least

    def by_address(
        self, request: Mapping[str, JsonValue], inputs: Sequence[InputFile]
    ) -> tuple[InputFile, ...]:
        """The local files that a service gets by an address, where there is a place for uploads: those that
        it takes so alone, and the largest ones until the rest fits into a body.
        """
        if self.dialect.refuse_url("https://uploads.invalid/file") is not None:
            return ()
        files = {file.reference: file for file in inputs}
        used = [files[url] for _, url in self.dialect.urls(request) if url in files]
        going = {file.reference: file for file in used if self.dialect.is_by_url(file)}
        room = self.limits.large_body - _REST_OF_BODY
        staying = sorted((file for file in used if file.reference not in going), key=lambda file: file.size)
        while staying and sum(map(data_uri_size, staying)) > room:
            largest = staying[-1]
            going[largest.reference] = largest
            staying = [file for file in staying if file.reference != largest.reference]
        return tuple(going.values())

    def body(
        self,
        request: Mapping[str, JsonValue],
        inputs: Sequence[InputFile],
        read_input: ReadInput,
        *,
        tag: int | None,
        callback_url: str | None,
        addresses: Mapping[str, str] | None = None,
    ) -> Body:
        """The exact POST. `read_input` gives the bytes of one of `inputs`.

        `addresses` gives the URL that a name of the job's own stands for.

        What the job sets itself is sent as set, above `tag` and `callback_url`; either is left out where
        the service has no field for it. Raises ValueError for a tag out of range, for a reference that is
        neither among `inputs` nor among `addresses`, and for a path that is for uploads.
        """
        added: dict[str, JsonValue] = {}
        if tag is not None and self.tag is not None:
            added[self.tag.field] = self.tag.value(tag)
        if callback_url is not None and self.callback_field:
            added[self.callback_field] = callback_url
        files = {file.reference: file for file in inputs}
        media = functools.partial(media_url, files, addresses or {}, read_input)
        body = self.dialect.encode(request, added, media)
        if body.path.partition("?")[0] in self.upload_paths:
            raise ValueError(f"{body.path} is for uploads, and a submit may cost money")
        return body

    def find_key(self, environment: Mapping[str, str], *, variable: str | None = None) -> ApiKey:
        """The key in the first variable that is set, or in `variable` alone; NO_KEY where the service needs
        none. Raises KeyRefusedError.
        """
        names = (variable,) if variable else self.key_variables
        for name in names:
            if environment.get(name, "").strip():
                return ApiKey.load(environment[name], source=name)
        if not self.needs_key and variable is None:
            return NO_KEY
        raise KeyRefusedError(
            f"no API key for {self.name}: {' and '.join(names)} not set",
            hint=f"export {names[0]}=<your key>, or rehearse with --sandbox",
        )


_REST_OF_BODY = 8 << 20
"""Bytes of a body beside its files: what a job file may say, twice."""

_DATA_URI_OVERHEAD = len("data:video/quicktime;base64,")


def data_uri_size(file: InputFile) -> int:
    """Bytes of a file as a data URI: base64 makes four of three."""
    return 4 * -(-file.size // 3) + _DATA_URI_OVERHEAD


def media_url(
    files: Mapping[str, InputFile], addresses: Mapping[str, str], read_input: ReadInput, url: JsonValue
) -> JsonValue:
    """The URL to send: a data URI for a local file. `files` and `addresses` are by the references to them.

    Raises ValueError for a reference to what is not among them.
    """
    if not isinstance(url, str) or not url.startswith((INPUT_SCHEME, KEY_SCHEME)):
        return url
    if url in addresses:
        return addresses[url]
    file = files.get(url)
    if file is None:
        raise ValueError(f"{url} is not among the task's inputs")
    return f"data:{file.media_type};base64,{base64.b64encode(read_input(file)).decode()}"
