"""Environment variables: which a job may read, and what `.env` in the root adds.

A job file may come from a stranger. It sees only the variables that it lists under `env:`, of
those only a provider's own that hold no secret, unless the command line allows a name; and an
API key is never the value of an expression, whatever is allowed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from runner.http.access import ApiKey
from runner.job.project.load_project import readable_project_file
from runner.plain_file import read_plain
from runner.providers import every
from runner.redact import Redactor

_MOST_BYTES = 256 * 1024

_OWN_PREFIX = "CALLSHEET_"
"""Of variables that say where callsheet itself sends or keeps something; their values hold secrets."""


def key_names(root: Path) -> frozenset[str]:
    """The variables that hold secrets: the API keys of the providers that are installed and of the accounts
    that the project file of `root` names, and the URL of its shared ledger.
    """
    providers = frozenset(name for provider in every().values() for name in provider.key_variables)
    said = readable_project_file(root)
    ledger = {said.ledger_variable} - {""}
    return providers | said.key_variables | ledger


def _base_urls() -> frozenset[str]:
    """The variables of providers that hold no secret: a job may list them without leave."""
    return frozenset(provider.url_variable for provider in every().values())


def read_env(
    root: Path, environ: Mapping[str, str], *, allow: frozenset[str] = frozenset()
) -> Mapping[str, str]:
    """`environ`, and below it what `.env` in `root` says of the keys of `key_names` and of `allow`.

    A `.env` may have come with a checkout, so it decides nothing but what is named here: no base URL,
    even where `allow` has it, for that is where a key is sent; and nothing is expanded. `os.environ`
    stays as it is.
    """
    said = _read_file(root / ".env")
    if not said:
        return environ
    wanted = (key_names(root) | allow) - _base_urls()
    return {**{name: value for name, value in said.items() if name in wanted}, **environ}


def why_refused(name: str, *, allow: frozenset[str], trust_job: bool, keys: Set[str]) -> tuple[str, str]:
    """(why, what to do) where a job may not read the variable `name`; two empty strings where it may. `keys`
    are the variables that hold keys.
    """
    if name in keys:
        return f"`{name}` holds an API key, which is never an expression's value", "remove it from `env:`"
    if name.startswith(_OWN_PREFIX):
        return f"`{name}` is callsheet's own, which is never an expression's value", "remove it from `env:`"
    if trust_job or name in allow or name in _base_urls():
        return "", ""
    return (
        f"`{name}` is not one of the provider's own variables",
        f"if this job may read it: --allow-env {name}, or --trust-job for all that it lists",
    )


def redactor_of(
    root: Path, environ: Mapping[str, str], keys: Iterable[str] = (), *, also: frozenset[str] = frozenset()
) -> Redactor:
    """Removes `keys` and every key that is here: of each account, and of the variables `also`."""
    environment = read_env(root, environ, allow=also)
    here = (environment.get(name, "").strip() for name in key_names(root) | also)
    # an account of another job may have a word for a key, such as `EMPTY`
    return Redactor([*keys, *(key for key in here if ApiKey(key).is_maskable)])


def _read_file(path: Path) -> Mapping[str, str]:
    try:
        text = read_plain(path, _MOST_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return {}
    # imported here: it takes 7 ms, and few roots have such a file
    from dotenv import dotenv_values

    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}
