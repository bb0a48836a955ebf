"""TFDS builder of Frey Face."""

from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from tfp_aevb.data.frey_face.rawface import read_rawface

URL = "http://www.cs.nyu.edu/~roweis/data/frey_rawface.mat"
FILE_NAME = "frey_rawface.mat"


class Builder(tfds.core.GeneratorBasedBuilder):
    """1,965 grey images of one face, 28 x 20 pixels, in the order of the film."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "The 1,965 images of frey_rawface.mat in their order."
    }

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(28, 20, 1))}),
            homepage="https://cs.nyu.edu/~roweis/data.html",
            # The file's order is kept, so that the split is the same however the file is read.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Takes downloads/manual/frey_rawface.mat when it is there, else downloads it."""
        manual = dl_manager.download_dir / "manual" / FILE_NAME
        path = manual if manual.exists() else dl_manager.download(URL)
        return {"train": self._generate_examples(path)}

    def _generate_examples(self, path: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, image in enumerate(read_rawface(path)):
            yield index, {"image": image[..., None]}
