"""ILSVRC2012 as people have it: the tars as downloaded, extracted class folders, a flat val/, Kaggle's tree.

The trap that this file is about: the development kit numbers the classes in an order of its own (ILSVRC2012_ID), while
every library and every published checkpoint counts the sorted WordNet ids. Here classes are WordNet ids, sorted.

Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, and the kit's readme.txt.
"""

import csv
import io
import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from topfive.data.archives import Archive, Held, archive
from topfive.data.class_folders import NOT_UPRIGHT, WNID
from topfive.data.decoding import is_image
from topfive.data.sources import Item, Source, fingerprint, listed
from topfive.data.stores import Joined, Progress, Store, plain, silent
from topfive.data.trees import Tree
from topfive.errors import DataError, UsageError

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
KIT = "ILSVRC2012_devkit_t12"
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
KAGGLE_TRUTH, KAGGLE_WORDS = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


@cache
def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The 1,000 classes in the order of every library's outputs, sorted: WordNet ids, and their words."""
    text = Path(__file__).with_name("imagenet_classes.txt").read_text("utf-8")
    ids, words = zip(*(line.split(" ", 1) for line in text.splitlines()), strict=True)
    return ids, words


def recognise(tree: Tree, progress: Progress) -> Source | None:
    """The source, where the tree is one of ILSVRC2012's layouts that need the ground truth. Raises: DataError."""
    files = tree.files[""]
    if TRAIN_TAR in files or VAL_TAR in files:
        missing = [name for name in (TRAIN_TAR, VAL_TAR) if name not in files]
        if missing:
            raise DataError(f"{tree.where!r} lacks {missing[0]}: the two tars and the development kit belong together")
        train, val = (_archive(tree, name, progress) for name in (TRAIN_TAR, VAL_TAR))
        named = {f"train/{name}": size for name, size in _sizes(train).items() if is_image(name)}
        flat = {f"val/{name}": size for name, size in _sizes(val).items() if is_image(name)}
        return _source(tree, Joined({"train": train, "val": val}), named, flat, "the tars as downloaded", *_kit(tree))
    kaggle = next((folder for folder in KAGGLE if "train" in tree.folders.get(folder, ())), None)
    if kaggle:
        prefix = kaggle + "/"
        classes, truth, words = _kaggle(tree)
        how = "Kaggle's tree"
    else:
        prefix = ""
        flat_val = [name for name in tree.files.get("val", ()) if VAL_NAME.fullmatch(name)]
        if not flat_val or not tree.folders.get("train"):
            return None
        classes, truth, words = _kit(tree)
        how = "train/ and a flat val/ with the kit's ground truth"
    named = {name: tree.sizes[name] for name in tree.images(prefix + "train")}
    flat = {name: tree.sizes[name] for name in tree.images(prefix + "val")}
    left_out = tree.left_out(prefix + "train", prefix + "val")
    source = _source(tree, tree.store, named, flat, how, classes, truth, words)
    return replace(source, notes=(*source.notes, f"left out, no images: {left_out}")) if left_out else source


def _source(
    tree: Tree,
    store: Store,
    train_sizes: dict[str, int],
    val_sizes: dict[str, int],
    how: str,
    classes: tuple[str, ...],
    truth: dict[str, str],
    words: tuple[str, ...],
) -> Source:
    index = {wnid: i for i, wnid in enumerate(classes)}
    train = []
    for name in sorted(train_sizes):
        wnid = name.split("/")[-2]
        if wnid not in index:
            raise DataError(f"{tree.where!r}: the training folder {wnid!r} is none of the kit's {len(classes)} classes")
        train.append(Item(name, index[wnid]))
    val = []
    for name in sorted(val_sizes):
        file = name.rpartition("/")[2]
        if file not in truth:
            raise DataError(f"{tree.where!r}: the ground truth says nothing of {file!r}")
        val.append(Item(name, index[truth[file]]))
    if len(val) != len(truth):
        raise DataError(f"{tree.where!r}: the ground truth is of {len(truth):,} images, and {len(val):,} are there")
    seen = {item.label for item in train}
    notes = [NOT_UPRIGHT]
    if isinstance(store, Joined):
        notes += [note for part in store.parts.values() if isinstance(part, Archive | Held) for note in part.notes]
    if len(seen) < len(classes):
        notes.append(f"no training images of {listed([name for i, name in enumerate(classes) if i not in seen])}")
    items, sizes = (*train, *val), {**train_sizes, **val_sizes}
    return Source(
        plain(Path(os.path.abspath(tree.where)).name or tree.where),  # of "." too
        tree.where,
        classes,
        tuple(train),
        tuple(val),
        how,
        fingerprint(classes, items, sizes),
        store,
        upright=False,
        words=words,
        notes=tuple(notes),
        sizes=sizes,
    )


def without(source: Source, path: Path) -> Source:
    """`source` without the validation images whose numbers stand in `path`, one a line.

    The list of 1,762 is `ILSVRC2014_clsloc_validation_blacklist.txt` of the ILSVRC 2014 development kit: images whose
    labels were withdrawn. Raises: UsageError where the file is no such list.
    """
    try:
        numbers = {int(line) for line in path.read_text(encoding="ascii").split()}
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} is no list of image numbers, one a line: {error}") from None
    kept, out = [], 0
    for item in source.val:
        found = VAL_NAME.search(item.name)
        if found and int(found[1]) in numbers:
            out += 1
        else:
            kept.append(item)
    if not out:
        raise UsageError(f"none of the {len(numbers):,} numbers in {str(path)!r} is of an image of {source.name}")
    note = f"{out:,} of the {len(numbers):,} images in {path.name} are left out of the evaluation"
    return replace(source, val=tuple(kept), notes=(*source.notes, note), fingerprint=f"{source.fingerprint}-{out}")


def _kit(tree: Tree) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """(sorted WordNet ids, the id of each validation file, the classes in words) from the development kit."""
    kit, prefix = _find_kit(tree)
    truth_file, meta_file = (kit.read(prefix + name) for name in (TRUTH, META))
    by_number = _meta(meta_file, f"{tree.where}/{META}")
    try:
        numbers = [int(line) for line in truth_file.split()]
    except ValueError:
        raise DataError(f"{TRUTH} in {tree.where!r} is not a number a line") from None
    unknown = sorted({number for number in numbers if number not in by_number})
    if unknown:
        raise DataError(f"{TRUTH} has the class {unknown[0]}, where {META} knows 1 to {max(by_number)}")
    # why: the ground truth is in the order of the file names, whatever order a tar or folder lists them in
    truth = {f"ILSVRC2012_val_{i:08}.JPEG": by_number[number][0] for i, number in enumerate(numbers, 1)}
    classes = sorted(by_number.values())
    return tuple(wnid for wnid, _ in classes), truth, tuple(words for _, words in classes)


def _find_kit(tree: Tree) -> tuple[Store, str]:
    """Where the kit's two files lie: a store, and a prefix in it."""
    for folder in ("", "data", KIT, f"{KIT}/data", "devkit/data", "devkit", "val"):
        if {TRUTH, META} <= set(tree.files.get(folder, ())):
            return tree.store, f"{folder}/" if folder else ""
    for name in tree.files[""]:
        if name.startswith(KIT) and name.endswith((".tar.gz", ".tgz", ".tar")):
            kit = _archive(tree, name, silent)
            inside = next((n for n in _sizes(kit) if n.rpartition("/")[2] == META), None)
            if inside is not None:
                return kit, inside.removesuffix(META)
    raise DataError(
        f"{tree.where!r} has ILSVRC2012's images but not its development kit: lay {KIT}.tar.gz beside them, the "
        f"labels of the validation images are in it ({META} and {TRUTH})"
    )


def _meta(data: bytes, where: str) -> dict[int, tuple[str, str]]:
    """ILSVRC2012_ID -> (WordNet id, words) of the classes, which are the leaves of the kit's tree."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(data), squeeze_me=True, struct_as_record=False)["synsets"]
        found = {int(s.ILSVRC2012_ID): (str(s.WNID), str(s.words)) for s in synsets.ravel() if int(s.num_children) == 0}
    except Exception as error:  # why: a damaged .mat raises almost anything
        raise DataError(f"{where} is not the development kit's: {type(error).__name__}") from None
    wrong = [wnid for wnid, _ in found.values() if not WNID.fullmatch(wnid)]
    if not found or wrong:
        raise DataError(f"{where} is not the development kit's: {wrong[:1] or 'no classes'}")
    return found


def _kaggle(tree: Tree) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    for name in (KAGGLE_TRUTH, KAGGLE_WORDS):
        if name not in tree.files[""]:
            raise DataError(f"{tree.where!r} is Kaggle's tree of ILSVRC but lacks {name}: lay it there")
    lines = tree.store.read(KAGGLE_WORDS).decode("utf-8", "replace").splitlines()
    words = dict(line.split(" ", 1) for line in lines if " " in line)
    rows = list(csv.DictReader(io.StringIO(tree.store.read(KAGGLE_TRUTH).decode("utf-8", "replace"))))
    try:
        truth = {f"{row['ImageId']}.JPEG": row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, TypeError, AttributeError):
        raise DataError(f"{KAGGLE_TRUTH} in {tree.where!r} lacks ImageId or PredictionString") from None
    unknown = sorted(set(truth.values()) - set(words))
    if unknown:
        raise DataError(f"{KAGGLE_TRUTH} names {unknown[0]!r}, which {KAGGLE_WORDS} lacks")
    classes = tuple(sorted(words))
    return classes, truth, tuple(words[wnid] for wnid in classes)


def _archive(tree: Tree, name: str, progress: Progress) -> Archive | Held:
    return archive(Path(tree.where) / name, progress)


def _sizes(store: Archive | Held) -> dict[str, int]:
    return {entry.name: entry.size for entry in store.entries() if not entry.folder}
