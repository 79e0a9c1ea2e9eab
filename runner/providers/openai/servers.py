"""How the servers of /v1/videos differ, as data: one row each (wire/openai-videos.md, read 2026-11-26)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from runner.providers.provider import Echo

Sizes = Mapping[tuple[str, str], str]
"""(resolution, ratio) to width x height."""


class UrlForm(enum.Enum):
    """How the address of the first picture is said; a file is always a part of the form."""

    OBJECT = enum.auto()
    """`input_reference` is `{"image_url": URL}`."""
    TEXT = enum.auto()
    """`image_reference` is that object as JSON text."""
    FIELD = enum.auto()
    """`reference_url` is the URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One kind of server.

    `fields` are those of the request beside model, prompt, seconds, size and input_reference; `words` are the
    common words that it has another name for. `seconds` is the type of the length, and `lengths` are those
    that it takes, empty for any. `sizes` are what a resolution and a ratio mean, and `only_sizes` says that
    no other size is taken. `multipart_only`: JSON is refused. `headers` stand at each submit. `echoes` are
    the fields that come back; `lists`: an unclear submit can be found by its list. `indexed_files`: the
    `variant` of a result is its number. `slash_in_ids`: an id may hold one. `is_own`: it runs on a machine of
    its owner's, so what it makes costs nothing. `ping` is a GET that the server answers to a good key.
    `record_life` and `url_life` are seconds.
    """

    name: str
    fields: frozenset[str]
    words: Mapping[str, str] = field(default_factory=dict)
    seconds: type[int] | type[str] = str
    lengths: tuple[int, ...] = ()
    sizes: Sizes
    only_sizes: bool = False
    multipart_only: bool = False
    url_form: UrlForm = UrlForm.OBJECT
    headers: tuple[tuple[str, str], ...] = ()
    echoes: Mapping[str, Echo]
    lists: bool
    indexed_files: bool = False
    slash_in_ids: bool = False
    is_own: bool = False
    ping: str = "/videos?limit=1"
    record_life: float = 7 * 86_400.0
    url_life: float = 7 * 86_400.0


_WIDE_SIZES: Final[Sizes] = {
    ("480p", "16:9"): "832x480",
    ("480p", "9:16"): "480x832",
    ("480p", "1:1"): "480x480",
    ("480p", "4:3"): "640x480",
    ("480p", "3:4"): "480x640",
    ("720p", "16:9"): "1280x720",
    ("720p", "9:16"): "720x1280",
    ("720p", "1:1"): "720x720",
    ("720p", "4:3"): "960x720",
    ("720p", "3:4"): "720x960",
    ("720p", "21:9"): "1680x720",
    ("1080p", "16:9"): "1920x1080",
    ("1080p", "9:16"): "1080x1920",
    ("1080p", "1:1"): "1080x1080",
    ("1080p", "4:3"): "1440x1080",
    ("1080p", "3:4"): "1080x1440",
}
"""For servers that take any size. 832x480 is what open models call 480p."""

_COMES_BACK: Final = {"prompt": Echo.INPUT, "size": Echo.INPUT, "seconds": Echo.INPUT}
_IS_SHOWN: Final = {"size": Echo.NOTED, "seconds": Echo.NOTED}
_DAY: Final = 86_400.0

REFERENCE: Final = Server(
    name="reference",
    fields=frozenset(),
    lengths=(4, 8, 12, 16, 20),
    sizes={
        ("720p", "16:9"): "1280x720",
        ("720p", "9:16"): "720x1280",
        ("1024p", "16:9"): "1792x1024",
        ("1024p", "9:16"): "1024x1792",
    },
    only_sizes=True,
    echoes=_COMES_BACK,
    lists=True,
    # where the answer names no `expires_at`
    url_life=3600.0,
)
VLLM_OMNI: Final = Server(
    name="vllm-omni",
    fields=frozenset(
        {
            "boundary_ratio",
            "extra_params",
            "flow_shift",
            "fps",
            "generate_sound",
            "guidance_scale",
            "guidance_scale_2",
            "height",
            "lora",
            "negative_prompt",
            "num_frames",
            "num_inference_steps",
            "quality",
            "seed",
            "sound_duration",
            "true_cfg_scale",
            "user",
            "width",
        }
    ),
    words={"generate_audio": "generate_sound", "frames": "num_frames"},
    sizes=_WIDE_SIZES,
    multipart_only=True,
    url_form=UrlForm.TEXT,
    echoes=_COMES_BACK,
    lists=True,
    is_own=True,
    # its list and its jobs are in memory: a restart ends both
    record_life=_DAY,
    url_life=_DAY,
)
SGLANG: Final = Server(
    name="sglang",
    fields=frozenset(
        {
            "enhance_prompt",
            "extra_params",
            "fps",
            "guidance_scale",
            "height",
            "n",
            "negative_prompt",
            "num_frames",
            "num_inference_steps",
            "seed",
            "task_type",
            "width",
        }
    ),
    words={"frames": "num_frames"},
    seconds=int,
    sizes=_WIDE_SIZES,
    url_form=UrlForm.FIELD,
    # its list shows no prompt: it cannot tell whose a job is
    echoes=_IS_SHOWN,
    lists=False,
    indexed_files=True,
    is_own=True,
    record_life=_DAY,
    url_life=_DAY,
)
LITELLM: Final = Server(
    name="litellm",
    fields=frozenset({"fps", "generate_audio", "negative_prompt", "seed", "user"}),
    sizes=_WIDE_SIZES,
    # a gateway repeats a create at its provider by itself, unseen by us, unless it is told not to
    headers=(("x-litellm-num-retries", "0"),),
    # no prompt comes back, and a list wants a provider to be named that no account has
    echoes=_IS_SHOWN,
    lists=False,
    slash_in_ids=True,
    ping="/models",
)
SERVERS: Final[Mapping[str, Server]] = {each.name: each for each in (VLLM_OMNI, SGLANG, LITELLM, REFERENCE)}
UNNAMED: Final = replace(
    REFERENCE,
    name="unnamed",
    fields=frozenset().union(*(each.fields for each in SERVERS.values())),
    words={"frames": "num_frames"},
    lengths=(),
    sizes={**_WIDE_SIZES, **REFERENCE.sizes},
    only_sizes=False,
)
"""Where no account names the dialect, as in a rehearsal without one: every field goes there."""
