"""Who may import whom: downward only, and torch only below lab/."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "topfive"
FILES = sorted(PACKAGE.rglob("*.py"))
# by order of publication: imports follow citations
PAPERS = ["alexnet", "zfnet", "nin", "vgg", "googlenet", "bn_inception", "inception_v3", "resnet", "inception_v4",
          "squeezenet", "densenet", "resnext", "mobilenet", "senet"]  # fmt: skip
HEAVY = {"torch", "sklearn", "skimage"}


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_torch_and_lab_stay_where_they_belong(path: Path) -> None:
    if "lab" in path.parts:
        return
    top = imports(path, everywhere=False)
    assert not {name for name in top if name.split(".")[0] in HEAVY}
    assert not any(name.startswith("topfive.lab") for name in top)
    if "commands" not in path.parts:
        assert not any(name.startswith("topfive.lab") for name in imports(path, everywhere=True))


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


@pytest.mark.parametrize("name", ["layers", "errors"])
def test_the_foundations_import_nothing_of_ours_but_each_other(name: str) -> None:
    ours = {found for found in imports(PACKAGE / f"{name}.py", everywhere=True) if found.startswith("topfive.")}
    assert all(found.startswith("topfive.errors") for found in ours)


def test_every_paper_is_in_the_order_of_publication() -> None:
    files = {path.stem for path in (PACKAGE / "networks").glob("*.py") if path.stem != "__init__"}
    assert files == set(PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_imports_older_papers_only(name: str) -> None:
    found = imports(PACKAGE / "networks" / f"{name}.py", everywhere=True)
    cited = {part.split(".")[2] for part in found if part.startswith("topfive.networks.")}
    assert cited <= set(PAPERS[: PAPERS.index(name)])
    allowed = ("topfive.networks.layers", "topfive.networks.papers", "topfive.networks", "topfive.errors")
    assert all(part.startswith(allowed) for part in found if part.startswith("topfive"))
