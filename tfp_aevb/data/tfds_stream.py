"""Sharded sets of TensorFlow Datasets (TFDS) read as they are needed."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfp_aevb.data import splits, tfds_sets
from tfp_aevb.data.stream import Stream

# Of each split, examples that are held in memory: to evaluate on, and to draw.
MAX_HELD = 10_000
_CHUNK_BYTES = 1 << 20
_FILES_AT_ONCE = 16


def load_tfds_stream(
    name: str, data_dir: str | None, shuffle_buffer: int, seed: int
) -> splits.RawData:
    """Opens a TFDS image set without reading its train split into memory.

    Each epoch goes through every example once: the set's files in an order of the epoch's own,
    16 of them in turn, and then a buffer out of which examples are drawn at random. The order is
    a function of (seed, epoch, buffer), so that reading can go on anywhere.

    Args:
        name: as for `tfds_sets.load_tfds`; the set must be prepared already.
        data_dir: TFDS's data directory, or None for its own default.
        shuffle_buffer: examples in the buffer.
        seed: of the order.

    Returns:
        The stream, and up to 10,000 examples of each split. Missing splits are taken from the end
        of the train split's files: a tenth each, at most 5,000.

    Raises:
        ValueError: the name is unknown, or the set has no images of one size.
    """
    builder = tfds_sets.prepared_builder(name, data_dir)
    train, held, rule = _held_splits(builder, name)
    stream = TfdsStream(builder, train, shuffle_buffer, seed)
    if not stream.num_examples(train):
        raise ValueError(f"dataset {name!r} has no train examples beside those held out")
    return splits.RawData(
        tfds_sets.read_splits(builder, name, held),
        tfds_sets.image_shape(builder),
        f"tensorflow_datasets {builder.info.full_name}, streamed",
        rule,
        Stream(stream.read, stream.num_examples(train)),
    )


def train_in_order(
    name: str, data_dir: str | None, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yields the streamed images, [B, D], and their labels [B], once and in their files' order."""
    builder = tfds_sets.prepared_builder(name, data_dir)
    train, _, _ = _held_splits(builder, name)
    for images, labels in tfds_sets.batches_in_order(builder, train, batch_size):
        yield images.reshape(len(images), -1), labels


class TfdsStream:
    """Reads a split of a TFDS set in a shuffled order, from any place on."""

    def __init__(self, builder: Any, split: str, shuffle_buffer: int, seed: int) -> None:
        self._builder = builder
        self._split = split
        self._shuffle_buffer = shuffle_buffer
        self._seed = seed

    def num_examples(self, split: Any) -> int:
        """Returns how many examples a split or a part of one has."""
        return int(self._builder.info.splits[split].num_examples)

    def read(self, start: int, worker: int, num_workers: int) -> Iterator[np.ndarray]:
        """Yields a worker's examples from its number `start` on, epoch after epoch, [B, D].

        Each worker has some of the files' examples; another number of workers divides them anew,
        so that within the epoch in which it changes some examples come twice and others not.
        """
        import tensorflow_datasets as tfds

        part = tfds.even_splits(self._split, n=num_workers)[worker]
        first_epoch, skip = divmod(start, self.num_examples(part))
        for epoch in itertools.count(first_epoch):
            for chunk in self._epoch(part, epoch, skip if epoch == first_epoch else 0):
                images = chunk.numpy()
                yield images.reshape(len(images), -1)

    def _epoch(self, part: Any, epoch: int, skip: int) -> Any:
        """Returns one epoch's examples but the first `skip`, in chunks."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        image = self._builder.info.features["image"]
        keys = np.random.SeedSequence([self._seed, epoch]).generate_state(2) >> 1
        stored = self._builder.as_dataset(
            split=part,
            shuffle_files=True,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(
                shuffle_seed=int(keys[0]),
                shuffle_reshuffle_each_iteration=False,
                interleave_cycle_length=_FILES_AT_ONCE,
                try_autocache=False,
                skip_prefetch=True,
            ),
        )
        # Decoded only behind the shuffle and the skip, which are then cheap.
        encoded = stored.map(lambda example: example["image"]).shuffle(
            self._shuffle_buffer, seed=int(keys[1]), reshuffle_each_iteration=False
        )
        decoded = encoded.skip(skip).map(
            image.decode_example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        nbytes = int(np.prod(image.shape)) * np.dtype(image.np_dtype).itemsize
        return decoded.batch(max(1, _CHUNK_BYTES // nbytes)).prefetch(tf.data.AUTOTUNE)


def _held_splits(builder: Any, name: str) -> tuple[str, dict[str, str], str]:
    """Returns the split to stream, those to hold in memory, and the rule in words."""
    known = builder.info.splits
    if "train" not in known:
        raise ValueError(f"dataset {name!r} has splits {sorted(known)}; expected a train split")
    missing = [split for split in splits.SPLIT_NAMES if split not in known]
    count = int(known["train"].num_examples)
    each = min(splits.MAX_VALIDATION, max(1, count // 10))
    end = count - each * len(missing)
    held = {"train": f"train[:{min(end, MAX_HELD)}]"}
    for place, split in enumerate(missing):
        held[split] = f"train[{end + place * each}:{end + (place + 1) * each}]"
    for split in set(splits.SPLIT_NAMES) - set(held):
        held[split] = f"{split}[:{min(int(known[split].num_examples), MAX_HELD)}]"
    taken = f"{each} {' and '.join(missing)} examples each from the end of train's files"
    return f"train[:{end}]", held, taken if missing else "all three splits as in the source"
