"""Encoded images (PNG, JPEG) to one uint8 array."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from landscape.files import UserError

GREY, COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "CMYK", "YCbCr")


def decode(encoded: Path | bytes, name: str) -> UInt8[np.ndarray, "H W C"]:
    """One image of 8 bits a channel; C = 1 for grey files, 3 for others. Transparency is dropped.

    Args:
      encoded: a file, or its bytes.
      name: what to call it in messages.

    Raises:
      UserError: unreadable, or more than 8 bits a channel.
    """
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
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


def decode_all(items: Iterable[tuple[str, Path | bytes]]) -> UInt8[np.ndarray, "N H W C"]:
    """All images of a set in one array: of one size, and in colour as soon as one of them is.

    Args:
      items: (name for messages, file or bytes) of each image, at least one.

    Raises:
      UserError: an image is unreadable, or of another size than the first.
    """
    decoded, first = [], ""
    for name, encoded in items:
        image = decode(encoded, name)
        first = first or name
        if decoded and image.shape[:2] != decoded[0].shape[:2]:
            raise UserError(
                f"image {name}: {_size(image)} pixels, expected {_size(decoded[0])} like {first}; "
                "bring all images to one size"
            )
        decoded.append(image)
    channels = max(image.shape[-1] for image in decoded)
    images = np.empty((len(decoded), *decoded[0].shape[:2], channels), np.uint8)
    for i, image in enumerate(decoded):
        images[i] = image  # a grey image fills all channels
    return images


def _size(image: np.ndarray) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"
