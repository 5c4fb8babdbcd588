"""The house: imports point one way, nothing outside a world names it, and nothing is too long."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from grimp import Layer

SRC = Path(__file__).parent.parent / "src" / "alicebob"
WORLDS = sorted(path.parent.name for path in SRC.glob("envs/*/__init__.py"))
#: From the top down. Rooms of one layer do not import each other, unless it says so.
LAYERS = (
    Layer("__main__"),
    Layer("cli", "launch"),
    Layer("pipeline"),
    Layer("loading", "tracking"),
    Layer("experiment"),
    Layer("methods"),
    Layer("alice", "bob"),
    Layer("evaluation", "replay", "rollout", independent=False),
    Layer("policies"),
    Layer("envs"),
    Layer("retrieval"),
    Layer(
        *(
            "dataset",
            "draws",
            "environment",
            "errors",
            "figures",
            "files",
            "journal",
            "processes",
            "progress",
        ),
        *("settings", "sight", "trace", "untrusted", "words"),
        independent=False,
    ),
)
LONGEST = {"file": 350, "function": 60}  # lines


@pytest.fixture(scope="module")
def graph():
    """All imports, also those in functions and for types alone."""
    return grimp.build_graph("alicebob", cache_dir=None)


def imports(graph):
    return {
        module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)
    }


def test_every_room_has_a_layer(graph):
    rooms = {module.partition(".")[2] for module in graph.find_children("alicebob")}
    assert rooms == {room for layer in LAYERS for room in layer.module_tails}


def test_imports_point_downwards(graph):
    wrong = graph.find_illegal_dependencies_for_layers(LAYERS, containers={"alicebob"})
    chains = [
        " -> ".join((head, *route.middle, tail))
        for dependency in wrong
        for route in dependency.routes
        for head in route.heads
        for tail in route.tails
    ]
    assert not chains, "\n".join(sorted(chains))
    assert graph.find_modules_that_directly_import("alicebob") == set()  # it is what users import


def test_no_module_imports_itself_through_others(graph):
    try:
        TopologicalSorter(imports(graph)).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_is_known_in_its_own_folder_alone(graph, world):
    """A preset may name it: that is where an experiment chooses one."""
    own = f"alicebob.envs.{world}"
    importers = [
        f"{module} -> {imported}"
        for module, found in imports(graph).items()
        for imported in sorted(found)
        if f"{imported}.".startswith(f"{own}.") and not f"{module}.".startswith(f"{own}.")
    ]
    named = [
        path.relative_to(SRC).as_posix()
        for path in sorted(SRC.rglob("*"))
        if path.suffix in (".py", ".md", ".yaml", ".typed")
        and not path.is_relative_to(SRC / "envs" / world)
        and not (path.suffix == ".yaml" and path.parent.name == "presets")
        and (world in path.name.lower() or world in path.read_text(encoding="utf-8").lower())
    ]
    assert not importers, "\n".join(importers)
    assert not named, "\n".join(named)


def test_files_and_functions_are_short():
    long = []
    for path in sorted(SRC.rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(SRC).as_posix()
        if (lines := len(text.splitlines())) > LONGEST["file"]:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                if (lines := node.end_lineno - first + 1) > LONGEST["function"]:
                    long.append(f"{name}, {node.name}: {lines} lines")
    assert not long, "\n".join(long)
