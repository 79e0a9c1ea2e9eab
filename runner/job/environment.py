"""Environment variables: which a job may read, and what `.env` in the root adds.

A job file may come from a stranger. It sees only the variables that it lists under `env:`, of
those only a provider's own that hold no secret, unless the command line allows a name; and an
API key is never the value of an expression, whatever is allowed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ProviderVariables:
    """`keys` hold the API key, in order of preference; `base_url` holds no secret."""

    keys: tuple[str, ...]
    base_url: str


PROVIDER_VARIABLES: Mapping[str, ProviderVariables] = {
    "mesh": ProviderVariables(keys=("MESHAPI_API_KEY", "MESHAPI_TOKEN"), base_url="MESHAPI_BASE_URL"),
    "getimg": ProviderVariables(keys=("GETIMG_API_KEY",), base_url="GETIMG_AI_BASE_URL"),
}
KEY_NAMES = frozenset(name for provider in PROVIDER_VARIABLES.values() for name in provider.keys)
_BASE_URLS = frozenset(provider.base_url for provider in PROVIDER_VARIABLES.values())
_OWN_PREFIX = "CALLSHEET_"
"""Of variables that say where callsheet itself sends or keeps something; their values hold secrets."""

_OPEN_NAMES = _BASE_URLS
"""What a job may list without leave: the providers' own variables that are no secret."""


def read_env(
    root: Path, environ: Mapping[str, str], *, allow: frozenset[str] = frozenset()
) -> Mapping[str, str]:
    """`environ`, and below it what `.env` in `root` says of the providers' keys and of `allow`.

    A `.env` may have come with a checkout, so it decides nothing but what is named here: no base URL,
    even where `allow` has it, for that is where a key is sent; and nothing is expanded. `os.environ`
    stays as it is.
    """
    wanted = (KEY_NAMES | allow) - _BASE_URLS
    found = {name: value for name, value in _read_file(root / ".env").items() if name in wanted}
    return {**found, **environ}


def why_refused(
    name: str, *, allow: frozenset[str], trust_job: bool, key_name: str | None
) -> tuple[str, str]:
    """(why, what to do) where a job may not read the variable `name`; two empty strings where it may."""
    if name in KEY_NAMES or name == key_name:
        return f"`{name}` holds an API key, which is never an expression's value", "remove it from `env:`"
    if name.startswith(_OWN_PREFIX):
        return f"`{name}` is callsheet's own, which is never an expression's value", "remove it from `env:`"
    if trust_job or name in allow or name in _OPEN_NAMES:
        return "", ""
    return (
        f"`{name}` is not one of the provider's own variables",
        f"if this job may read it: --allow-env {name}, or --trust-job for all that it lists",
    )


def _read_file(path: Path) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return {}
    # imported here: it takes 7 ms, and few roots have such a file
    from dotenv import dotenv_values

    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}
