"""Job files, pages, templates and tests name models that are sold."""

from __future__ import annotations

import re
from pathlib import Path

from runner.providers.mesh import MESH

ROOT = Path(__file__).parents[2]
_ID = re.compile(r"(?:[\w.-]+/)*(?:dreamina-|doubao-)?seedance-[\w.-]*\w", re.IGNORECASE)
_PLACES = ("README.md", "jobs", "docs", "schemas", "scripts", "benchmarks", "runner", "tests", ".github")
_SUFFIXES = frozenset({".md", ".py", ".yaml", ".yml", ".json", ".txt", ".toml"})
ABOUT_RETIRED_MODELS = frozenset(
    {
        "docs/how-to/models.md",
        "runner/providers/ark/models.yaml",
        "runner/providers/fal/models.yaml",
        "runner/providers/getimg/models.yaml",
        "runner/providers/mesh/models.yaml",
        "runner/providers/seedance.yaml",
        "tests/clients/test_ark.py",
        "tests/plan/test_cost.py",
        "tests/plan/test_lint.py",
        "tests/plan/test_steps.py",
        "tests/providers/ark/test_dialect.py",
        "tests/providers/ark/test_jobs.py",
        "tests/providers/test_model_ids.py",
        "tests/providers/test_models.py",
        "tests/sandbox/test_ark.py",
        "tests/sandbox/test_models.py",
        "tests/sandbox/test_validation.py",
        "tests/sandbox/test_whatever_validates.py",
    }
)


def test_no_file_names_a_retired_model_but_those_about_them() -> None:
    found = set()
    for place in _PLACES:
        for path in [ROOT / place] if place.endswith(".md") else sorted((ROOT / place).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix not in _SUFFIXES or name.startswith("tests/golden/") or not path.is_file():
                continue
            for model in _ID.findall(path.read_text(encoding="utf-8")):
                family = MESH.catalogue.find(model)
                if family is not None and family.retired is not None:
                    found.add(name)
    assert found == ABOUT_RETIRED_MODELS
