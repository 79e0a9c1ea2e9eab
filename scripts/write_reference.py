"""Writes docs/reference/job-file.md and project-file.md from their schemas: one table per level, every key.

As a program it writes the other generated pages too: commands.md, errors.md and expressions.md.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# The job file, key by key

Written by `python scripts/write_reference.py` from schemas/job.schema.json, which editors read too;
a test holds this page to it. Durations are seconds, or texts such as `100ms`, `15s`, `2m`, `1h`, `7d`.
Keys that begin with `x-` are free everywhere.

The file is YAML 1.2: `16:9` and `NO` stay text, and an ambiguous value is an error with its line and column.

## An example, line by line

```yaml jobs/first.yaml
version: 1                            # of the language
models: [byteplus/seedance-1-0-pro]   # an axis: each model gets every task
seeds: 1..2                           # an axis: two takes, each repeatable by its seed
matrix:                               # further axes, multiplied with the others
  ratio: [16:9, 9:16]                 # named like a field of the request, so it sets that field
  shot:                               # an axis of your own
    - id: harbour
      prompt: Fishing boats leave a small harbour at dawn
    - id: market
      prompt: A market stall under striped cloth
exclude:                              # cells to leave out, as in GitHub Actions
  - {ratio: 9:16, shot: {id: market}}
request:                              # the API's own fields, same names, same types
  resolution: 480p
  duration: 4
content:                              # the API's content items
  - type: text
    text: ${{ shot.prompt }}, 35mm film
  - type: image_url
    image_url: assets/lake-day.png    # a file beside the job file; its bytes are sent and recorded
    role: first_frame
output: out/${{ shot.id }}-${{ ratio }}-s${{ seed }}.mp4    # below the project root
run: {concurrency: 8, rate: 60/min, deadline: 6h, max_failures: 5}
budget: {max_tasks: 20}               # a cap over all runs of this job
```

```sh
callsheet validate jobs/first.yaml
```

```text
jobs/first.yaml: valid, 6 tasks
```

Three cells with two takes each are six tasks. `callsheet plan` lists them before anything is paid.
`samples: 4` asks for four takes without choosing seeds. `edition: ${{ run.date }}` makes new videos each
night.
"""


PROJECT_HEAD = """\
# The project file, key by key

`callsheet.yaml` in the root says what holds for all jobs of a project. It is optional, belongs in git, and is
checked like a job file.

Written by `python scripts/write_reference.py` from schemas/project.schema.json, which editors read too; a
test holds this page to it.

## An example

`callsheet init` writes the file with the first two keys. Add the others as you need them:

```yaml callsheet.yaml
version: 1
project: "7f3a9c12"
timezone: Europe/Berlin
accounts:
  acme: {provider: mesh, api_key_env: ACME_MESH_KEY, labels: {client: acme}}
budgets:
  - {month: {max_usd: 900}}
prices:
  byteplus/dreamina-seedance-2-0: {usd_per_mtok: 7.0}
trust_env: false
notify: {on: [failed, held, budget, done], url_env: NOTIFY_URL}
```

```sh
callsheet validate callsheet.yaml
callsheet doctor --sandbox
```

```text
...
ok       settings   callsheet.yaml: project 7f3a9c12, time zone Europe/Berlin, 1 account, 1 budget, 1 price...
```

- **The file marks a root.** In a fresh clone `plan`, `validate` and rehearsals work at once. What pays needs
  `.callsheet/` with its ledger, which is not in git: `callsheet init` makes an empty one. Nothing else does,
  so a second clone never pays again unnoticed. With a shared `ledger` every clone works at once, unless it is
  empty.
- **`project` and the ledger belong together.** The ledger takes this id at the first run. With another
  project's ledger, or another project's file, every verb stops with exit code 73.
- **A price** is found by the model's id, else by its family behind the same prefix, else by its family. So
  `seedance-2-0` holds for every prefix. The order is: `price` of the job, `prices` here,
  [models.lock.yaml](../how-to/models.md#ask-the-services), the public price.
- **`timezone`** decides the day of `run.date`, of budgets, of `spend --by day` and of messages. Times in
  ledger, manifest and events are UTC. A submit keeps its day when the zone is changed.
- **Accounts and budgets** are explained in [their guide](../how-to/accounts-and-budgets.md). This file is the
  owner's: what a job may say only with `--trust-job`, where keys are and where they go, may stand here.
- **A mistake** in the file stops what would pay. What is paid for is fetched all the same.
"""


def render(schema: dict[str, Any], head: str = HEAD) -> str:
    """The whole page."""
    parts = [head, "## Top level\n", *_table(schema, schema)]
    for name, key in schema["properties"].items():
        for path, level in _levels(name, key, schema):
            parts += [f"\n## `{path}`\n", *_table(level, schema)]
    return "\n".join(parts) + "\n"


def _levels(path: str, key: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`key` and what lies below it, where that has keys of its own."""
    if key.get("$ref", "").startswith("#/properties/"):
        return  # told where it stands itself
    key = _resolved(key, schema)
    if "properties" in key:
        yield path, key
        for name, child in key["properties"].items():
            yield from _levels(f"{path}.{name}", child, schema)
    elif isinstance(key.get("items"), dict):
        yield from _levels(f"{path}[]", key["items"], schema)
    elif "$ref" in (inner := key.get("additionalProperties", {}) or {}):
        yield from _levels(f"{path}.<name>", inner, schema)


def _resolved(key: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """`key`, or what it refers to."""
    if "$ref" not in key:
        return key
    _, group, name = key["$ref"].split("/")
    found: dict[str, Any] = schema[group][name]
    return found


def _table(level: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    required = {*level.get("required", ()), *level.get("then", {}).get("required", ())}
    rows = ["| key | what it is | default | example |", "|---|---|---|---|"]
    for name, written in level["properties"].items():
        key = {**_resolved(written, schema), **written}
        default = "required" if name in required else _code(key["default"]) if "default" in key else ""
        example = _code(key["examples"][0]) if key.get("examples") else ""
        rows.append(f"| `{name}` | {_text(key.get('description', ''))} | {default} | {example} |")
    return rows


def _code(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{_text(text)}`"


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    for name, page_head in (("job", HEAD), ("project", PROJECT_HEAD)):
        schema = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
        page = ROOT / "docs" / "reference" / f"{name}-file.md"
        page.write_text(render(schema, page_head), encoding="utf-8")
    for page in ("commands", "errors", "expressions"):
        runpy.run_path(str(ROOT / "scripts" / f"{page}_page.py"), run_name="__main__")
