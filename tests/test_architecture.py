"""Rules of the house, read from the source: floors, purity, no option that nobody reads."""

import ast
import dataclasses
import functools
import graphlib
from pathlib import Path
from typing import get_type_hints

import pytest

from zoomrl.agents.cqn.config import ProposalConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.nets.config import EncoderConfig, RepresentationConfig
from zoomrl.training.config import TrainConfig

SOURCE = Path(__file__).parents[1] / "src" / "zoomrl"
FLOOR = {
    "errors": 0,
    "spec": 0,
    "files": 0,
    "seal": 0,
    "version": 0,
    "plugins": 0,
    "ranges": 0,
    "field_docs": 0,
    "runtime": 0,
    "loopback": 0,
    "machine": 0,
    "math": 0,
    "nets": 1,
    "data": 1,
    "control": 1,
    "envs": 1,
    "demos": 2,
    "agents": 3,
    "intervention": 3,
    "training": 4,
    "analysis": 5,
    "deploy": 5,
    "lens": 5,
    "sweep": 5,
    "recipes": 6,
    "reproduce": 6,
    "cli": 6,
    "__init__": 7,
    "__main__": 7,
}
# Rooms of one floor may not lean on each other, with these exceptions.
SAME_FLOOR = {
    ("control", "data"),  # an action scaler reads episodes
    ("cli", "recipes"),
    ("cli", "reproduce"),
    ("reproduce", "recipes"),  # its arms are presets with other options
}


MODULES = {
    ".".join(("zoomrl", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def imports():
    """(file, importing room, imported module) for every import in the package, those inside functions too."""
    for path in MODULES.values():
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield path, room, whole if whole in MODULES else node.module
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    yield path, room, alias.name


@pytest.mark.long
def test_no_module_imports_itself_by_way_of_others():
    """A circle would make the order of imports matter, and no part of it could be read alone."""
    names = {path: name for name, path in MODULES.items()}
    graph = {name: set() for name in MODULES}
    for path, _, module in imports():
        if module in MODULES:
            graph[names[path]].add(module)
    graphlib.TopologicalSorter(graph).prepare()  # names the circle
    graph["zoomrl.errors"].add("zoomrl.cli.main")
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.long
def test_imports_point_down_the_floors():
    wrong = []
    for path, room, module in imports():
        if not module.startswith("zoomrl."):
            continue
        other = module.split(".")[1]
        if room == other or (room, other) in SAME_FLOOR or FLOOR[other] == 0:
            continue
        # Configs are plain data; training composes them and lower floors never import training's.
        if FLOOR[other] >= FLOOR[room]:
            wrong.append(f"{path.relative_to(SOURCE)} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.long
def test_math_imports_torch_only_and_envs_never_do():
    for path, room, module in imports():
        top = module.split(".")[0]
        if room == "math":
            allowed = {"torch", "typing", "re", "math", "collections", "__future__"}
            assert module.startswith("zoomrl.math") or top in allowed, (path, module)
        if room in {"envs", "demos"}:
            assert top not in {"torch", "torchrl", "tensordict"}, (path, module)
        if room == "nets":
            assert not module.startswith(("zoomrl.envs", "zoomrl.data")), (path, module)


CONFIGS = [
    *AGENT_CONFIGS.values(), EncoderConfig, RepresentationConfig, ProposalConfig, TrainConfig,
    *(kind for name, kind in get_type_hints(TrainConfig).items() if name != "agent" and dataclasses.is_dataclass(kind)),
]  # fmt: skip


@functools.cache
def attributes_read() -> set[str]:
    """Names that are read somewhere outside configs, recipes and command line."""
    read = set()
    for path in SOURCE.rglob("*.py"):
        if (
            "recipes" in path.parts
            or "cli" in path.parts
            or (path.name == "config.py" and "training" not in path.parts)
            or path.parent.name == "config"
        ):
            continue
        tree = ast.parse(path.read_text())
        skip = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"
            for inner in ast.walk(node)
        }
        nodes = [n for n in ast.walk(tree) if id(n) not in skip]
        read |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
        # Of configs that need not have the field: getattr(config, "field", default).
        calls = [
            n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "getattr"
        ]
        read |= {n.args[1].value for n in calls if isinstance(n.args[1], ast.Constant)}
    return read


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.long
def test_every_config_field_is_read(config):
    """Some attribute access outside the class that defines it, so that no option is dead."""
    dead = {f.name for f in dataclasses.fields(config)} - attributes_read() - {"preset"}
    assert not dead, f"{config.__name__}: nobody reads {sorted(dead)}"


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_field_is_documented(config):
    tree = ast.parse(Path(__import__(config.__module__, fromlist=["_"]).__file__).read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == config.__name__).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        plain = isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)
        if plain and "field(" not in ast.unparse(node):
            documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            assert documented, f"{config.__name__}.{node.target.id} has no description"


@pytest.mark.long
def test_products_outside_of_layers_go_by_way_of_the_faster_library():
    """PyTorch's own would be twice as slow on some processors, and nothing else would show it; layers are swapped."""
    own = SOURCE / "nets" / "linear.py"
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if path != own and isinstance(node, ast.Call) and ast.unparse(node.func) == "F.linear"
    ]
    assert not found, found


def test_no_console_takes_a_task_for_a_pictogram():
    """rich makes a pictogram of ``:hammer:``, and so of ``metaworld:hammer: ...``."""
    wrong = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Console"
        and "emoji" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not wrong, wrong
