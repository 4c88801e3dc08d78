"""Shared by the three builders: progress, the list of bad files, and an error instead
of an empty dataset.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from train.datasets.records import Shot, record_features, split_files, to_example


class ShotBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder over source items (files or folders); subclasses say how to list and to
    read one.

    `skipped` collects (item, reason) of unreadable items; `counts` the shots and frames
    of each split.
    """

    VERSION = tfds.core.Version("1.0.0")
    # no checksum or citation files beside the code; TFDS would need importlib_resources
    # to look
    code_path = None

    def __init__(
        self,
        *,
        source: Path,
        validation: float = 0.1,
        on_item: Callable[[str], None] | None = None,
        **kwargs,
    ):
        self.source = Path(source)
        self.validation = validation
        self.on_item = on_item
        self.skipped: list[tuple[str, str]] = []
        self.counts: dict[str, dict[str, int]] = {}
        if not self.source.is_dir():
            raise ValueError(
                f"source {self.source} is not a folder: give the folder that holds the "
                "files"
            )
        self.items = self.list_items()
        if not self.items:
            raise ValueError(f"{self.source}: found no {self.expected}")
        # any shot at once, and read without TensorFlow
        super().__init__(file_format="array_record", **kwargs)

    expected = "readable files"

    def list_items(self) -> list[Any]:
        """Source items in a fixed order."""
        raise NotImplementedError

    def read_item(self, item: Any) -> Iterator[Shot]:
        """Shots of one item; may raise (OSError, ValueError, PyAV errors): the shots
        before the fault are kept.
        """
        raise NotImplementedError

    def split_items(self) -> dict[str, list[Any]]:
        """Split name -> items."""
        return split_files(self.items, self.validation)

    def item_name(self, item: Any) -> str:
        return str(Path(item).relative_to(self.source))

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=record_features(),
        )

    def _split_generators(self, dl_manager):
        splits = self.split_items()
        return {
            split: self._generate_examples(split, items)
            for split, items in splits.items()
        }

    def _generate_examples(self, split: str, items: list[Any]):
        nothing = {"items": 0, "shots": 0, "frames": 0}
        counts = self.counts.setdefault(split, nothing)
        for item in items:
            name = self.item_name(item)
            try:
                for shot in self.read_item(item):
                    counts["shots"] += 1
                    counts["frames"] += len(shot.frames)
                    yield to_example(shot)
                counts["items"] += 1
            # a bad file is never fatal, and decoders raise anything
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                self.skipped.append((name, reason))
            if self.on_item:
                self.on_item(name)
        if not counts["shots"]:
            raise ValueError(
                f"{self.source}: nothing usable for split {split!r} among {len(items)} "
                f"items: {self.skipped[:3]}"
            )
