"""What libraries say of their weights: as their sources say it, of the networks that we mean."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from topfive.errors import UsageError
from topfive.networks import costs
from topfive.weights.libraries import Known, fetchable, known, recognised
from topfive.weights.names import network_called

TORCHVISION = known("torchvision")
AUXILIARY = 3_326_696  # parameters of Inception-v3's auxiliary classifier, which torchvision counts


@pytest.mark.parametrize("entry", TORCHVISION, ids=lambda entry: entry.key)
def test_the_network_has_as_many_parameters_as_the_library_counts(entry: Known) -> None:
    more = AUXILIARY if entry.name == "inception_v3" else 0
    assert costs.count(network_called(entry.network)).params + more == entry.params


def test_the_table_is_well_formed() -> None:
    assert len(TORCHVISION) == 32 == len({entry.key for entry in TORCHVISION}) == len({e.sha256 for e in TORCHVISION})
    for entry in TORCHVISION:
        assert re.fullmatch(r"[0-9a-f]{8}", entry.sha256) and entry.url.endswith(f"-{entry.sha256}.pth")
        assert entry.url.startswith("https://download.pytorch.org/models/")
        assert entry.crop <= entry.resize and 50 < entry.top1 < entry.top5 < 100
        assert entry.params is not None and entry.mib is not None
        # four bytes a parameter, what is left out of the count (auxiliary classifiers) and little else
        assert 0.99 < entry.mib * 2**20 / (4 * entry.params) < (2.1 if entry.name == "googlenet" else 1.1)


def test_a_file_is_recognised_by_its_hash() -> None:
    # source: the whole hash of this file as several public repositories state it
    found = recognised("0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a")
    assert found is not None and (found.key, found.top1) == ("resnet50.IMAGENET1K_V1", 76.13)
    assert recognised("00" * 32) is None


def test_names_of_weights() -> None:
    assert fetchable("AlexNet").key == "alexnet.IMAGENET1K_V1"
    assert fetchable("resnet50.imagenet1k_v2").resize == 232
    with pytest.raises(UsageError, match=r"2 files of weights: name one of resnet50\.IMAGENET1K_V1, resnet50"):
        fetchable("resnet50")
    with pytest.raises(UsageError, match=r"did you mean .*resnet50"):
        fetchable("resnet5O")
    with pytest.raises(UsageError, match="no weights are called 'xyz'; there are alexnet"):
        fetchable("xyz")
    with pytest.raises(UsageError, match="no library is called 'keras'"):
        known("keras")


def stated(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(class, version) -> what torchvision's sources say, read and not executed."""
    found = {}
    for file in folder.glob("*.py"):
        tree = ast.parse(file.read_text())
        common = {
            ast.literal_eval(key): value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_COMMON_META"
            for key, value in zip(node.value.keys, node.value.values)  # type: ignore[attr-defined]
            if key is not None
        }
        for group in tree.body:
            if not (isinstance(group, ast.ClassDef) and group.name.endswith("_Weights")):
                continue
            for node in group.body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                    words = {word.arg: word.value for word in node.value.keywords}
                    meta = words["meta"]
                    assert isinstance(meta, ast.Dict)
                    pairs = {ast.literal_eval(k): v for k, v in zip(meta.keys, meta.values) if k is not None}
                    transform = {word.arg: ast.unparse(word.value) for word in words["transforms"].keywords}  # type: ignore[attr-defined]
                    version = ast.unparse(node.targets[0])
                    found[group.name.removesuffix("_Weights").lower(), version] = {
                        "url": ast.literal_eval(words["url"]),
                        "transform": transform,
                        **{key: ast.unparse(value) for key, value in {**common, **pairs}.items()},
                    }
    return found


@pytest.mark.peers
def test_the_table_says_what_torchvisions_sources_say() -> None:
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchvision is not installed; `make peers` has it")
    sources = stated(Path(spec.origin).parent / "models")
    for entry in TORCHVISION:
        said = sources[entry.name, entry.version]
        assert said["url"] == entry.url and float(said["_file_size"]) == entry.mib
        assert int(said["num_params"].replace("_", "")) == entry.params
        metrics = ast.literal_eval(said["_metrics"])["ImageNet-1K"]
        assert (metrics["acc@1"], metrics["acc@5"]) == (entry.top1, entry.top5)
        transform = said["transform"]
        assert int(transform.pop("crop_size")) == entry.crop and int(transform.pop("resize_size", 256)) == entry.resize
        assert not transform and entry.interpolation == "bilinear"  # else other means, or another interpolation
