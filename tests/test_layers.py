"""The house's rules, read from the source: imports point down, only the command line prints."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.providers import BUILT_IN
from runner.providers.provider import Provider

PACKAGE = Path(__file__).resolve().parent.parent / "runner"
RANKS = {
    name: rank
    for rank, names in enumerate(
        (
            "errors json_value money plain_file plural resources slug spelling times typed_json",
            "durable redact",
            "project http",
            "objects providers media",
            "work",
            "job",
            "plan",
            "store",
            "ledger",
            "record",
            "lane",
            "run",
            "desk",
            "assemble",
            "api cli",
            "__main__",
        )
    )
    for name in names.split()
}
"""The higher may import the lower. `runner/__init__.py` gathers the public API and stands outside."""

PRINTING_MODULES = frozenset({"rich", "click"})

FILES = sorted(PACKAGE.rglob("*.py"))


def _module(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in the file, with its line; of `from a import b`, `a.b` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            module = node.module or ""
            yield module, node.lineno
            yield from ((f"{module}.{name.name}", node.lineno) for name in node.names)


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True, scope="module")
def _no_tree_is_kept() -> Iterator[None]:
    """A million objects would slow each collection of garbage in the tests that follow."""
    yield
    _parsed.cache_clear()


@functools.cache
def _own_imports(file: Path) -> list[tuple[str, int]]:
    tree = _parsed(file)
    return [
        (module, line)
        for module, line in _imports(tree)
        if module == "runner" or module.startswith("runner.")
    ]


def test_imports_point_down_the_layers() -> None:
    """A module imports its own layer and those below it; the sandbox is for `cli` and `assemble` alone."""
    wrong = [
        f"{file}:{line} imports {module}"
        for file in FILES
        if (own := _layer(_module(file))) not in {"", "sandbox"}
        for module, line in _own_imports(file)
        if (layer := _layer(module)) not in {"", "__version__", own}
        and not (layer == "sandbox" and own in {"cli", "assemble"})
        and RANKS.get(layer, 99) >= RANKS[own]
    ]
    assert wrong == []


def test_the_sandbox_imports_nothing_else_of_runner() -> None:
    """Wire code shared with `providers` would prove the providers only against themselves."""
    wrong = [
        f"{file}:{line} imports {module}"
        for file in FILES
        if "sandbox" in file.parts
        for module, line in _own_imports(file)
        if _layer(module) != "sandbox"
    ]
    assert wrong == []


def test_no_two_modules_import_each_other() -> None:
    """Within a layer too there is no circle."""
    modules = {_module(file) for file in FILES}
    graph = {
        _module(file): {name for name, _ in _own_imports(file) if name in modules} - {_module(file)}
        for file in FILES
        if file.name != "__init__.py"
    }
    assert _circles(graph) == []


@pytest.mark.parametrize(
    "room", sorted({file.parent for file in FILES} - {PACKAGE}), ids=lambda room: room.name
)
def test_a_folder_stands_above_or_below_each_module_beside_it(room: Path) -> None:
    """Taken as one, it is in no circle."""
    name = _module(room / "__init__.py")
    graph: dict[str, set[str]] = {}
    for file in {*room.rglob("*.py")} - {room / "__init__.py"}:
        own = _beside(name, _module(file))
        uses = {_beside(name, module) for module, _ in _own_imports(file)}
        graph.setdefault(own, set()).update(uses - {own})
    assert _circles(graph) == []


def _beside(room: str, module: str) -> str:
    """The module or folder of `room` in which `module` is, or nothing."""
    return module.removeprefix(f"{room}.").partition(".")[0] if module.startswith(f"{room}.") else ""


def _circles(graph: dict[str, set[str]]) -> list[str]:
    """What is in a circle of the graph, or uses what is. The graph is used up."""
    while leaves := {module for module, uses in graph.items() if not uses & graph.keys()}:
        for module in leaves:
            del graph[module]
    return sorted(graph)


def test_only_the_command_line_prints() -> None:
    """No print, no writing to the standard streams, neither click nor rich, outside runner/cli."""
    wrong = [
        f"{file}:{line}: {what}"
        for file in FILES
        if _layer(_module(file)) not in {"cli", "__main__"}
        for what, line in _prints(_parsed(file))
    ]
    assert wrong == []


def _prints(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each use of what prints, with its line."""
    for name, line in _imports(tree):
        if name.split(".")[0] in PRINTING_MODULES:
            yield name, line
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                yield "print", node.lineno
            case ast.Attribute(attr="stdout" | "stderr" as stream, value=ast.Name(id="sys")):
                yield f"sys.{stream}", node.lineno


def test_in_the_command_line_only_the_console_prints() -> None:
    """`click.echo` and friends have one caller, so that `-q` and the streams are decided once."""
    printing = {"echo", "secho", "print"}
    wrong = [
        f"{file.name}:{node.lineno}"
        for file in (PACKAGE / "cli").rglob("*.py")
        if file.name != "console.py"
        for node in ast.walk(_parsed(file))
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
        in printing
    ]
    assert wrong == []


@pytest.mark.security(26)
def test_ffmpeg_is_loaded_by_its_own_process_alone() -> None:
    """And by the sandbox, which makes its videos itself."""
    loading = [
        _module(file)
        for file in FILES
        if "sandbox" not in file.parts
        and any(name.split(".")[0] == "av" for name, _ in _imports(_parsed(file)))
    ]
    assert loading == ["runner.media.pictures"]


def _own_words(provider: Provider) -> set[str]:
    """What only one service knows: its name, its variables, and its names for fields."""
    dialect = provider.dialect
    words = {provider.name, *provider.key_variables, provider.url_variable, *dialect.words.values()}
    words |= {dialect.flex_field, dialect.last_frame_field, *provider.not_in_identity}
    # in a job file these are words for every service, and so they are in the code
    return words - {"", "priority", "callback_url", "sound", "seconds", "num_frames", "user"}


def _names_and_texts(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every identifier and every string of a file, docstrings included, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Constant(value=str(text)) | ast.Name(id=text) | ast.Attribute(attr=text):
                yield text, line
            case ast.arg(arg=text) | ast.keyword(arg=str(text)) | ast.alias(name=text):
                yield text, line
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield text, line


def _pattern(word: str) -> str:
    if len(word) >= 4:
        return f"(?i:{word})"
    # a short one is in other words, as `ark` is in `mark`
    return f"(?<![A-Za-z])(?i:{word})(?![A-Za-z])|{word.capitalize()}(?=[A-Z])"


def test_a_service_is_known_in_its_own_folder_alone() -> None:
    """And in the sandbox, and in the registry, which lists the built-in ones and names the default."""
    words = sorted({word.lower() for provider in BUILT_IN.values() for word in _own_words(provider)})
    # most names are in many files
    said = functools.cache(re.compile("|".join(map(_pattern, words))).search)
    wrong = [
        f"{file}:{line} says {found[0]}"
        for file in FILES
        if not _is_of_services(*file.relative_to(PACKAGE).parts)
        for text, line in _names_and_texts(_parsed(file))
        if (found := said(text))
    ]
    assert wrong == []


def _is_of_services(room: str, below: str = "", *_: str) -> bool:
    return room == "sandbox" or (room == "providers" and below in {"__init__.py", *BUILT_IN})


def test_the_rules_above_see_the_whole_house() -> None:
    """A layer that is not ranked would escape the rules."""
    layers = {_layer(_module(file)) for file in FILES} - {"", "sandbox"}
    assert layers <= set(RANKS)
