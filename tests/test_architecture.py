"""Who may import whom: downward only, and torch only in engine/."""

import ast
from pathlib import Path

import pytest

from topfive import networks

PACKAGE = Path(__file__).parent.parent / "topfive"
FILES = sorted(PACKAGE.rglob("*.py"))
PAPERS = [paper.__name__.split(".")[-1] for paper in networks.PAPERS]  # imports follow citations
OF_ALL_PAPERS = {
    "layers",
    "costs",
    "shapes",
    "receptive_fields",
    "descriptions",
    "boxes",
    "drawing",
    "ideas",
    "variations",
    "papers",
}  # what is in networks/ and of no paper
HEAVY = {"torch", "sklearn", "skimage"}
# each may import those before it, and itself; what stands in one row does not import the others of it
ORDER = [
    {"errors", "system"},
    {"networks"},
    {"recipes"},
    {"weights"},
    {"data"},
    {"results"},
    {"engine", "report"},
    {"console"},
    {"commands"},
    {"cli"},
    {"api"},
    {"__main__", "__init__"},
]
PLACE = {name: n for n, row in enumerate(ORDER) for name in row}


def imports(path: Path, everywhere: bool) -> set[str]:
    """The modules that a file imports: `a.b` for `from a import b` too; at its top level only, or everywhere."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(module: str) -> str:
    """The part of the package that a module belongs to: `engine` of `topfive.engine.comparison`."""
    return module.split(".")[1] if "." in module else "__init__"


def wrong_way(importing: str, found: set[str]) -> set[str]:
    """Those of the `found` modules that a file of the part `importing` may not import."""
    ours = {name for name in found if name.startswith("topfive.") and part(name) in PLACE}
    return {
        name
        for name in ours
        if part(name) != importing and PLACE[part(name)] >= PLACE[importing] and part(name) != "errors"
    }


def test_the_rule_of_imports_can_be_broken() -> None:
    assert wrong_way("report", {"topfive.engine.comparison", "topfive.results.runs"}) == {"topfive.engine.comparison"}
    assert wrong_way("data", {"topfive.results.runs", "topfive.networks.layers"}) == {"topfive.results.runs"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    importing = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert not wrong_way(importing, imports(path, everywhere=True))
    if importing != "engine":  # torch takes seconds to import: only where it is needed, and the engine with it
        top = imports(path, everywhere=False)
        assert not {name for name in top if name.split(".")[0] in HEAVY}
        assert not any(name.startswith("topfive.engine") for name in top)


def test_the_root_is_small() -> None:
    files = list(PACKAGE.glob("*.py"))
    assert len(files) <= 6
    assert all(len(path.read_text().splitlines()) <= 150 for path in files)


CALLS = {"pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "yaml.load", "os.system", "eval", "exec"}
ARGUMENTS = {("weights_only", False), ("allow_pickle", True), ("shell", True)}


def doors(text: str) -> list[str]:
    """The calls in a file by which what it reads could become code, or land outside of its folder."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        arguments = {(word.arg, word.value.value) for word in node.keywords if isinstance(word.value, ast.Constant)}
        unsafe = name in CALLS or bool(arguments & ARGUMENTS)
        unsafe |= name == "torch.load" and ("weights_only", True) not in arguments
        unsafe |= name.endswith(".extractall") and ("filter", "data") not in arguments
        if unsafe:
            found.append(ast.unparse(node))
    return found


def test_nothing_that_is_read_becomes_code() -> None:
    unsafe = (
        "pickle.load(f); torch.load(f); np.load(f, allow_pickle=True); run(c, shell=True); t.extractall(p); eval(s)"
    )
    assert len(doors(unsafe)) == 6
    files = [*FILES, *(file for folder in ("docs", "benchmarks") for file in (PACKAGE.parent / folder).rglob("*.py"))]
    assert [f"{file.name}: {door}" for file in files for door in doors(file.read_text())] == []


@pytest.mark.parametrize("name", ["networks/layers", "errors", "system"])
def test_the_foundations_import_nothing_of_ours_but_errors(name: str) -> None:
    ours = {found for found in imports(PACKAGE / f"{name}.py", everywhere=True) if found.startswith("topfive.")}
    drawn = {"topfive.networks.drawing", "topfive.networks.drawing.svg"}  # when a notebook asks a network for it
    assert all(found.startswith("topfive.errors") for found in ours - drawn)
    top = imports(PACKAGE / f"{name}.py", everywhere=False)
    assert all(found.startswith("topfive.errors") for found in top if found.startswith("topfive."))


def test_every_paper_is_in_the_order_of_publication() -> None:
    files = {path.stem for path in (PACKAGE / "networks").glob("*.py") if path.stem != "__init__"}
    assert files == set(PAPERS) | OF_ALL_PAPERS


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_imports_older_papers_only(name: str) -> None:
    found = imports(PACKAGE / "networks" / f"{name}.py", everywhere=True)
    ours = {imported for imported in found if imported.startswith("topfive.") and imported.count(".") > 1}
    cited = {imported.split(".")[2] for imported in ours if imported.startswith("topfive.networks.")}
    assert cited <= {*PAPERS[: PAPERS.index(name)], "layers", "papers"}
