"""The source of batches that a path names."""

from configs import DataConfig
from train.data.packed import PackedBatches


def open_batches(
    config: DataConfig, seed: int = 0, process_index: int = 0, process_count: int = 1
):
    """Returns the iterator for `config.path`: packed for a .npy file, else grain over a
    prepared dataset.
    """
    if config.path.endswith(".npy"):
        return PackedBatches(config, seed, process_index, process_count)
    # grain and tfds are absent on a bare machine
    from train.data.pipeline import GrainBatches

    return GrainBatches(config, seed, process_index, process_count)
