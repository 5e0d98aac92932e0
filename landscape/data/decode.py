"""Encoded images (PNG, JPEG and others) to one uint8 array, as viewers show them."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from landscape import runs
from landscape.files import UserError

GREY, COLOUR = ("1", "L", "LA", "La"), ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr")
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")  # grey of 16 bits
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")  # Pillow knows others, some of which start programs
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
MAX_THREADS = 8
BLOCK = 512  # images decoded between two looks at signals


def decode(encoded: Path | bytes, name: str, resize: int = 0) -> UInt8[np.ndarray, "H W C"]:
    """One image, a file or its bytes, as a viewer shows it; C = 1 for grey files, 3 for others.

    Turned as its EXIF orientation says, composited on white where it is transparent, 16 bits a channel scaled to 8.
    Inks (CMYK) become red, green and blue as Pillow has it: inverted, as all JPEGs with four channels keep them.

    Args:
      resize: side of a square that the image is scaled to cover and cut to about its centre; 0 leaves its size.

    Raises:
      UserError: names what is unreadable, animated, or has pixels of another kind.
    """
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded, formats=FORMATS) as image:
            _refuse_other_kinds(image, name)
            shown = _as_shown(image)
            pixels = np.asarray(ImageOps.fit(shown, (resize, resize)) if resize else shown)
    except UserError:
        raise
    except Exception as error:  # Pillow raises errors of many kinds for damaged files
        reason = " ".join(str(error).split())
        raise UserError(f"image {name}: cannot be read ({reason}), expected a PNG or JPEG; replace it") from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _refuse_other_kinds(image: Image.Image, name: str) -> None:
    if image.mode not in GREY + COLOUR + WIDE:
        raise UserError(
            f"image {name}: its pixels are of kind {image.mode!r}, expected grey or colour of 8 bits, or grey of 16; "
            "convert it to an 8-bit PNG"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photograph with its preview
        raise UserError(f"image {name}: holds {frames} frames, expected one; save the one that is meant as a PNG")


def _as_shown(image: Image.Image) -> Image.Image:
    """Of mode L or RGB, of 8 bits, upright and without transparency."""
    image, mode = ImageOps.exif_transpose(image), "L" if image.mode in GREY + WIDE else "RGB"
    if image.mode in WIDE:
        return Image.fromarray(np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert(mode)
    *bands, alpha = (np.asarray(band, np.float32) for band in image.convert("LA" if mode == "L" else "RGBA").split())
    on_white = [np.round(255 + (band - 255) * alpha / 255).astype(np.uint8) for band in bands]
    return Image.merge(mode, [Image.fromarray(band) for band in on_white])


def decode_all(items: Sequence[tuple[str, Path | bytes]], resize: int = 0) -> UInt8[np.ndarray, "N H W C"]:
    """All images of a set in one array: of one size, and in colour as soon as one of them is.

    Decoded by several threads, straight into the array: little is held beside it. Shows its progress.

    Args:
      items: (name for messages, file or bytes) of each image, at least one. resize: see `decode`.

    Raises:
      UserError: an image is unreadable, or of another size than the first.
      runs.Interrupted: a signal came.
    """
    images = None
    threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    with threads, runs.progress(None, "decoding", len(items), "images") as bar:
        for start in range(0, len(items), BLOCK):
            block = items[start : start + BLOCK]
            for i, image in enumerate(threads.map(lambda item: decode(item[1], item[0], resize), block), start):
                if images is None:
                    images = np.empty((len(items), *image.shape), np.uint8)
                if image.shape[:2] != images.shape[1:3]:
                    raise UserError(
                        f"image {items[i][0]}: {_size(image)} pixels, expected {_size(images[0])} like {items[0][0]}; "
                        "bring all images to one size, or try --config.data.resize=64 for squares of one size"
                    )
                if image.shape[2] > images.shape[3]:
                    images = np.repeat(images, image.shape[2], axis=3)  # all have been grey so far
                images[i] = image  # a grey image fills all channels
            bar.advance(len(block))
            runs.check_here()
    return images


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"
