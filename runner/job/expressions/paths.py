"""Output paths: a template whose expressions each add one safe piece, always below the base directory."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runner.job.expressions.expressions import (
    OPEN,
    KnownNames,
    Scope,
    Template,
    compile_template,
)
from runner.job.expressions.filters import ExpressionError, as_text
from runner.job.problems import Checked, ProblemError
from runner.job.yaml.nodes import Location, Scalar
from runner.project import STATE_DIR
from runner.slug import slug

SUFFIX = ".mp4"
_CLOSED_EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
MOST_COMPONENT = 200
"""Bytes of one component: file systems take 255, and `.last.png` and `.part` come on top."""
MOST_PATH = 1_000
"""Bytes of a whole relative path."""


@dataclass(frozen=True, slots=True)
class OutputTemplate:
    """`output:` of a job file, its fixed parts checked."""

    location: Location
    template: Template

    @property
    def names(self) -> frozenset[str]:
        return self.template.names

    @property
    def read_names(self) -> frozenset[str]:
        return self.names

    @property
    def written(self) -> str:
        """As it is written in the file."""
        return "".join(
            part if isinstance(part, str) else f"${{{{ {part.source} }}}}" for part in self.template.parts
        )

    def render(self, scope: Scope) -> str:
        """The path of one cell, relative, with forward slashes. Raises ProblemError."""
        try:
            path = "".join(
                part if isinstance(part, str) else _piece(as_text(part.evaluate(scope), part.source))
                for part in self.template.parts
            )
        except ExpressionError as error:
            raise ProblemError(error.at(self.location)) from None
        normal = unicodedata.normalize("NFC", path)
        if wrong := what_is_wrong(normal):
            raise ProblemError(self.location.error(f"{normal!r}: {wrong}"))
        return normal


def compile_output(node: Scalar, known: KnownNames) -> Checked[OutputTemplate | None]:
    """The template at `node`, or None if something is wrong with it."""
    text = str(node.value)
    template = yield from compile_template(text, known, node.location)
    if template is not None:
        fixed = "".join(part if isinstance(part, str) else "x" for part in template.parts)
    else:
        fixed = _CLOSED_EXPRESSION.sub("x", text[:MOST_PATH])  # cut: the pattern's time is quadratic
        if OPEN in fixed or len(text) > MOST_PATH:
            return None
    if wrong := what_is_wrong(unicodedata.normalize("NFC", fixed)):
        yield node.location.error(wrong, "for example out/${{ seed }}.mp4, relative to the project root")
        return None
    return OutputTemplate(node.location, template) if template is not None else None


def what_is_wrong(path: str) -> str:
    """Why `path` cannot be an output; empty if it can."""
    if not path.endswith(SUFFIX) or path.endswith("/" + SUFFIX) or path == SUFFIX:
        return f"an output is a video, so its name must end in {SUFFIX}"
    if path.startswith(("/", "~")):
        return "an output is relative to the project root"
    if "\\" in path or not path.isprintable():
        return "a backslash or an invisible character in a path"
    if len(path.encode()) > MOST_PATH:
        return f"longer than {MOST_PATH} bytes"
    for component in path.split("/"):
        if component in ("", ".", ".."):
            return f"`{component}` cannot be part of a path; use plain names between single slashes"
        if component.casefold() == STATE_DIR:
            return f"{STATE_DIR} holds the state of the project"
        if len(component.encode()) > MOST_COMPONENT:
            return f"a part longer than {MOST_COMPONENT} bytes"
    return ""


def confine(base: Path, output: str) -> Path:
    """The absolute path of `output` below `base`, links in its parents resolved.

    Raises ValueError where that leaves `base`.
    """
    resolved = base.resolve()
    try:
        parent = (resolved / PurePosixPath(output).parent).resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{output}: cannot be resolved: {error}") from None
    if not parent.is_relative_to(resolved):
        raise ValueError(f"{output}: leaves the project root through a link")
    return parent / PurePosixPath(output).name


def collision_key(output: str) -> str:
    """Equal for outputs that some file systems do not tell apart: by letter case or Unicode form."""
    if output.isascii():
        return output.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", output).casefold())


def _piece(text: str) -> str:
    piece = slug(text)
    if not piece:
        raise ExpressionError(f"{text[:40]!r} leaves nothing that can be part of a file name")
    return piece
