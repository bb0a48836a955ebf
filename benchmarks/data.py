"""The images that all programs see: made from a seed, or read from a file."""

from pathlib import Path

import numpy as np

DENSITY = 0.13  # ones among the pixels, as in binarised MNIST
FACTORS = 8
BLOCK = 5000


def make_images(num_data: int, dim: int, seed: int = 0) -> np.ndarray:
    """Returns images with structure to learn: [N, D] uint8 zeros and ones, 13% of them ones.

    A pixel is one where a linear map of eight Gaussian factors, plus a brightness of its own, plus
    logistic noise is above a threshold.
    """
    generator = np.random.default_rng(seed)
    loadings = generator.normal(0.0, 1.5, [FACTORS, dim])
    brightness = generator.normal(0.0, 2.0, dim)
    images = np.empty([num_data, dim], np.uint8)
    threshold = None
    for start in range(0, num_data, BLOCK):
        rows = min(BLOCK, num_data - start)
        values = generator.normal(size=[rows, FACTORS]) @ loadings + brightness
        values += generator.logistic(size=[rows, dim])
        if threshold is None:
            threshold = np.quantile(values, 1.0 - DENSITY)
        images[start : start + rows] = values > threshold
    return images


def read_images(path: Path) -> np.ndarray:
    """Reads a .npy file of images [N, ...] as [N, D] uint8 zeros and ones.

    Values from 0 to 255, or from 0 to 1, are cut at the middle.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not hold images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`--data` {path} does not exist; give a .npy file of images")
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        raise ValueError(f"`--data` {path} is not a .npy file; write it with numpy.save") from None
    if not isinstance(images, np.ndarray) or images.ndim < 2 or images.size == 0:
        raise ValueError(f"`--data` {path} must hold one array of images [N, ...]")
    middle = 127 if images.max() > 1 else 0.5
    return (images.reshape(len(images), -1) > middle).astype(np.uint8)


def prepare(
    folder: Path, path: Path | None, num_data: int, dim: int, seed: int
) -> tuple[Path, int]:
    """Writes the images where every program reads them.

    Args:
        folder: where to.
        path: file of images, or `None` to make them.
        num_data: N; the first N images of the file.
        dim: D of images that are made.
        seed: of images that are made.

    Returns:
        The file, and D.

    Raises:
        ValueError: if the file holds fewer than N images.
    """
    images = make_images(num_data, dim, seed) if path is None else read_images(path)
    if len(images) < num_data:
        raise ValueError(f"`--num_data` must be at most {len(images)} with {path}, got {num_data}")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "images.npy"
    np.save(target, images[:num_data])
    return target, images.shape[1]
