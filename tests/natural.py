"""A folder in the layout of `tiny-imagenet-200`, of 64 x 64 crops of photographs. Not a test: what tests learn from.

`write` makes ten classes, one a photograph inside the wheels of scikit-learn and scikit-image, two of them
grey. Each photograph is cut into tiles of about 100 pixels, every third one for `val` and `test`, and every crop lies
in one tile: a classifier has to learn how a photograph looks, and cannot recall its pixels. N crops a class in
`train`, half as many in `val`, a tenth without labels in `test`. This is not Tiny ImageNet,
and no result on it is one on Tiny ImageNet.
"""

import importlib.util
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = {  # class -> (package, file, other words for it)
    "temple": ("sklearn", "datasets/images/china.jpg", "roofs"),
    "flower": ("sklearn", "datasets/images/flower.jpg", "dahlia"),
    "astronaut": ("skimage", "data/astronaut.png", "portrait"),
    "cat": ("skimage", "data/chelsea.png", "tabby"),
    "coffee": ("skimage", "data/coffee.png", "cup"),
    "rocket": ("skimage", "data/rocket.jpg", "launch"),
    "motorcycle": ("skimage", "data/motorcycle_left.png", "workshop"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg", "deep field"),
    "grass": ("skimage", "data/grass.png", "lawn"),
    "gravel": ("skimage", "data/gravel.png", "stones"),
}
SIZE, TILE = 64, 100  # pixels of a crop, and about those of a tile


def write(root: Path, per_class: int = 120, *, seed: int = 0) -> Path:
    """Writes the folder; returns it."""
    if root.exists():
        raise FileExistsError(f"{root}: expected a folder that is not there yet")
    rng = np.random.default_rng(seed)
    # as in the published folder: wnids.txt is in no order, words.txt knows more of them
    wnids = {name: f"n9{(7 * i + 3) % 10:03d}000{i}" for i, name in enumerate(PHOTOGRAPHS)}
    words = [f"{wnids[name]}\t{name}, {more}" for name, (_, _, more) in PHOTOGRAPHS.items()]
    held_out = {"val": [], "test": []}
    for name, (package, file, _) in PHOTOGRAPHS.items():
        image, wnid = photograph(package, file), wnids[name]
        (root / f"train/{wnid}/images").mkdir(parents=True)
        boxes = [f"{wnid}_{i}.JPEG" for i in range(per_class)]
        for box in boxes:
            save(crop(rng, image, held_out=False), root / f"train/{wnid}/images/{box}")
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("".join(f"{box}\t0\t0\t63\t63\n" for box in boxes))
        for split, share in (("val", 2), ("test", 10)):
            count = max(1, per_class // share)
            held_out[split] += [(wnid, crop(rng, image, held_out=True)) for _ in range(count)]
    for split, crops in held_out.items():
        (root / split / "images").mkdir(parents=True)
        order = rng.permutation(len(crops))
        for i, j in enumerate(order):
            save(crops[j][1], root / f"{split}/images/{split}_{i}.JPEG")
        if split == "val":
            lines = [f"val_{i}.JPEG\t{crops[j][0]}\t0\t0\t63\t63\n" for i, j in enumerate(order)]
            (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids.values()))
    (root / "words.txt").write_text("\n".join(["n00001740\tentity", *sorted(words), "n99999999\tnothing"]) + "\n")
    return root


def photograph(package: str, file: str) -> Image.Image:
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    return Image.open(folder / file)


def crop(rng: np.random.Generator, image: Image.Image, *, held_out: bool) -> Image.Image:
    """A random square of a random tile, at least 64 pixels wide, brought to 64 x 64 and perhaps mirrored."""
    width, height = image.size
    columns, rows = width // TILE, height // TILE
    tiles = [(i, j) for i in range(columns) for j in range(rows) if ((i + j) % 3 == 2) == held_out]
    i, j = tiles[rng.integers(len(tiles))]
    side = int(rng.integers(SIZE, TILE + 1))
    x = i * width // columns + rng.integers(width // columns - side + 1)
    y = j * height // rows + rng.integers(height // rows - side + 1)
    found = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    return found.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.integers(2) else found


def save(image: Image.Image, path: Path) -> None:
    image.save(path, "JPEG", quality=92)


def archive(root: Path) -> Path:
    """The folder as ROOT.zip, its name being the first part of every path inside; the folder is deleted."""
    path = root.with_name(f"{root.name}.zip")
    with zipfile.ZipFile(path, "w") as out:
        for file in sorted(root.rglob("*")):
            out.write(file, file.relative_to(root.parent))
    shutil.rmtree(root)
    return path
