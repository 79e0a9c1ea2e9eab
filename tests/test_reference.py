"""The generated pages of docs/reference say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from runner.resources import load_schema

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("name", "head"), [("job", "HEAD"), ("project", "PROJECT_HEAD")])
def test_the_page_of_a_file_is_what_its_schema_says(name: str, head: str) -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "write_reference.py"))
    page = (ROOT / "docs" / "reference" / f"{name}-file.md").read_text(encoding="utf-8")
    assert page == script["render"](load_schema(name), script[head]), "run: python scripts/write_reference.py"
    for key in load_schema(name)["properties"]:
        assert f"| `{key}` |" in page


@pytest.mark.parametrize("name", ["commands", "errors", "expressions"])
def test_a_page_that_is_made_by_running_the_program_is_what_it_says_now(name: str) -> None:
    """The catalogue of errors provokes each of them again, and each expression is computed."""
    script = runpy.run_path(str(ROOT / "scripts" / f"{name}_page.py"))
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")
    assert page == script["render"](), "run: python scripts/write_reference.py"
