"""Files to answers: an exported ONNX file beside `topfive predict` in 32 bits, on every validation image.

    python benchmarks/export.py RUN SOURCE [N]

RUN: a run folder of a network trained on SOURCE (../shared/data/imagenette.tar); every N-th image, by default each, is
answered. The file is made and verified by `topfive export`, then both answer the files: the program with the file
decodes them by Pillow alone. Every image with another answer is listed with both; those that are no near tie end it
with exit code 1.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from topfive.data.opening import open_source
from topfive.engine.inference.verification import NEAR


def main(run: str, where: str, every: str = "1") -> int:
    """Print what differs; 1 where that is no near tie."""
    source = open_source(where)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        exported = [sys.executable, "-m", "topfive", "export", run, str(out)]
        subprocess.run(exported, check=True, stdout=subprocess.DEVNULL)
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        about = session.get_modelmeta().custom_metadata_map
        classes, upright = json.loads(about["classes"]), json.loads(about["upright"])
        answers: list[tuple[str, np.ndarray]] = []
        began = time.perf_counter()
        images = Path(folder) / "images"
        images.mkdir()
        for n, item in enumerate(source.val[:: int(every)]):
            data = source.store.read(item.name)
            path = images / f"{n:06}{Path(item.name).suffix}"
            path.write_bytes(data)
            image = Image.open(io.BytesIO(data))
            pixels = np.asarray((ImageOps.exif_transpose(image) if upright else image).convert("RGB"))
            answers.append((source.path(item), session.run(None, {"images": pixels[None]})[0][0]))
        seconds = time.perf_counter() - began
        how = ["--precision", "float32", "--format", "json", "--top", str(len(classes)), "--quiet"]
        predicted = subprocess.run(
            [sys.executable, "-m", "topfive", "predict", run, str(images), *how],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
    rows = json.loads(predicted.stdout)["rows"]
    return told(answers, rows, classes, seconds)


def told(
    answers: list[tuple[str, np.ndarray]], rows: list[dict[str, object]], classes: list[str], seconds: float
) -> int:
    """The differences, in the order of the images; a near tie is one whose logits differ by little, as in an export."""
    assert len(rows) == len(answers)
    others, furthest, off = 0, 0, 0.0
    for (name, shares), row in zip(answers, rows):
        ours = {str(row[f"class_{n}"]): float(str(row[f"probability_{n}"])) for n in range(1, len(classes) + 1)}
        theirs = classes[int(shares.argmax())]
        off = max(off, max(abs(ours[each] - float(share)) for each, share in zip(classes, shares)))
        if theirs != row["class_1"]:
            others += 1
            gap = float(np.log(ours[str(row["class_1"])] / ours[theirs]))  # between both logits
            near = gap <= 10 * NEAR  # of logits some 10 large
            furthest += not near
            print(
                f"{name}: {row['class_1']} by predict, {theirs} by the file, logits {gap:.1e} apart, near tie: {near}"
            )
    print(
        f"{len(rows):,} images, {others} with another Top-1, {furthest} of them no near ties; probabilities differ by "
        f"{off:.1e} at most; {len(rows) / seconds:,.1f} images/s by the file, with decoding"
    )
    return 1 if furthest else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
