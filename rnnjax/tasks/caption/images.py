"""A user's own images."""

from __future__ import annotations

import pathlib

import numpy as np

from rnnjax.tasks.caption.scenes import CANVAS
from rnnjax.train.plot import figure_type


def read_image(path: pathlib.Path) -> np.ndarray:
    """An image [32, 32] of a file: ink at 1 and paper at 0 in .npy; dark on light in .png.

    Integers in .npy are of 0 to 255. Colours of a .png are averaged, what is transparent is paper.

    Raises:
      ValueError: it cannot be read, or is no such image; says why.
    """
    if path.suffix not in (".npy", ".png"):
        raise ValueError(
            "an image is given as its number in the test data, or as a file, .npy or .png, of "
            f"{CANVAS} x {CANVAS} pixels, got {str(path)!r}"
        )
    try:
        image = {".npy": _npy, ".png": _png}[path.suffix](path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:  # the last is how a .png fails
        raise ValueError(f"{path} cannot be read as an image: {error}") from None
    if image.shape != (CANVAS, CANVAS) or image.dtype.kind not in "buif":
        raise ValueError(
            f"{path} must be an image of {CANVAS} x {CANVAS} numbers, got {image.dtype} "
            f"{list(image.shape)}"
        )
    image = image / 255 if image.dtype.kind in "ui" else image
    if not np.isfinite(image).all() or image.min() < -1 or image.max() > 2:
        raise ValueError(
            f"{path} must have paper at 0 and ink at 1, or integers from 0 to 255, got "
            f"[{image.min()}, {image.max()}]"
        )
    return image.astype(np.float32)


def _npy(path: pathlib.Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _png(path: pathlib.Path) -> np.ndarray:
    """How dark a .png is, in [0, 1]."""
    figure_type()  # an error that says what to install
    from matplotlib.image import imread

    pixels = imread(path)
    if pixels.ndim == 2:
        return 1 - pixels
    colours = pixels.shape[-1] - (pixels.shape[-1] in (2, 4))
    there = pixels[..., colours] if colours < pixels.shape[-1] else 1
    return (1 - pixels[..., :colours].mean(axis=-1)) * there
