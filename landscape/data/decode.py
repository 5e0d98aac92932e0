"""Encoded images (PNG, JPEG) to one uint8 array."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from landscape import runs
from landscape.files import UserError

GREY, COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "CMYK", "YCbCr")
FORMATS = ("PNG", "JPEG")  # Pillow knows others, some of which start programs
MAX_THREADS = 8
BLOCK = 512  # images decoded between two looks at signals


def decode(encoded: Path | bytes, name: str) -> UInt8[np.ndarray, "H W C"]:
    """One image, a file or its bytes, of 8 bits a channel; C = 1 for grey files, 3 for others, without transparency.

    Inks (CMYK) become red, green and blue as Pillow has it: inverted, as all JPEGs with four channels keep them. A
    UserError names what is unreadable, or has more than 8 bits a channel.
    """
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("L" if mode in GREY else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"image {name}: cannot be read ({reason}), expected a PNG or JPEG; replace it") from error
    if mode not in GREY + COLOUR:
        raise UserError(
            f"image {name}: its pixels are of kind {mode!r}, expected 8-bit grey or colour; convert it to an 8-bit PNG"
        )
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def decode_all(items: Sequence[tuple[str, Path | bytes]]) -> UInt8[np.ndarray, "N H W C"]:
    """All images of a set in one array: of one size, and in colour as soon as one of them is.

    Decoded by several threads, straight into the array: little is held beside it. Shows its progress.

    Args:
      items: (name for messages, file or bytes) of each image, at least one.

    Raises:
      UserError: an image is unreadable, or of another size than the first.
      runs.Interrupted: a signal came.
    """
    images = None
    threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    with threads, runs.progress(None, "decoding", len(items), "images") as bar:
        for start in range(0, len(items), BLOCK):
            block = items[start : start + BLOCK]
            for i, image in enumerate(threads.map(lambda item: decode(item[1], item[0]), block), start):
                if images is None:
                    images = np.empty((len(items), *image.shape), np.uint8)
                if image.shape[:2] != images.shape[1:3]:
                    raise UserError(
                        f"image {items[i][0]}: {_size(image)} pixels, expected {_size(images[0])} like {items[0][0]}; "
                        "bring all images to one size"
                    )
                if image.shape[2] > images.shape[3]:
                    images = np.repeat(images, image.shape[2], axis=3)  # all have been grey so far
                images[i] = image  # a grey image fills all channels
            bar.advance(len(block))
            runs.check_here()
    return images


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"
