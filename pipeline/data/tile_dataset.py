"""Training tiles: several from each case in an epoch, each drawn from (seed, epoch, case, repeat) and nothing else.

The number of workers, the number of ranks and a restart therefore change nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandomizableTrait
from torch.utils.data import DistributedSampler
from tqdm.auto import tqdm

from ..errors import ConfigError, ManifestError
from ..transforms import TileDraw


class ExplainedTile(NamedTuple):
    """A training tile, the prepared case that it was drawn from, and its `TileDraw`: None where no part tells it."""

    tile: Any
    case: Any
    draw: TileDraw | None


class TileDataset(Dataset):
    """A MONAI dataset that draws `tiles_per_case` tiles of each case in every epoch.

    Everything in `transform` before its first random part is done once for each case, when the dataset is made, and
    kept in memory: this also checks all images and labels before training starts. Where a part makes several samples
    of a case, as `SplitSlicesd` makes slices of a volume, tiles are drawn from each of them.

    Args:
        data: Cases, as `Manifest.records` gives them.
        transform: A `Compose` with a random part, such as `RandTiled`.
        tiles_per_case: Tiles of each case (or slice of a volume) in one epoch, at least 1.
        seed: Seed of all draws.
        progress: Show a progress bar while cases are prepared.

    Raises:
        ConfigError: If an argument is out of range, or nothing in `transform` is random.
        ManifestError: If there is no case.
    """

    def __init__(
        self,
        data: Sequence[Mapping[Hashable, Any]],
        transform: Compose,
        tiles_per_case: int = 1,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        if len(data) == 0:
            raise ManifestError("the training split has no cases; name a split of the manifest that has some")
        if tiles_per_case < 1:
            raise ConfigError(f"tiles_per_case must be at least 1, got {tiles_per_case}")
        super().__init__(data, transform)
        self.tiles_per_case = tiles_per_case
        self.seed = seed
        self.first_random = transform.get_index_of_first(lambda part: isinstance(part, RandomizableTrait))
        if self.first_random is None:
            raise ConfigError("the training transforms draw nothing: tiles come from a random part such as RandTiled")
        cases = tqdm(data, desc="preparing cases", unit="case", disable=not progress, leave=False)
        self.prepared = [sample for case in cases for sample in _samples(transform(dict(case), end=self.first_random))]

    def __len__(self) -> int:
        """Return the number of tiles in an epoch."""
        return len(self.prepared) * self.tiles_per_case

    def __iter__(self) -> Iterator[Any]:
        """Return the tiles of the first epoch: tile numbers have no end that would stop a plain loop."""
        return (self[draw] for draw in range(len(self)))

    def __getitem__(self, number: int) -> Any:
        """Return a tile by its number, counted over all epochs."""
        return self.explained(number).tile

    def explained(self, number: int) -> ExplainedTile:
        """Return a tile with what it was drawn from and how."""
        epoch, tile = divmod(number, len(self))
        repeat, case = divmod(tile, len(self.prepared))
        seed = np.random.SeedSequence((self.seed, epoch, case, repeat)).generate_state(1)[0]
        self.transform.set_random_state(seed=int(seed))
        tile, draw = self.prepared[case], None
        for part in range(self.first_random, len(self.transform.transforms)):
            tile = self.transform(tile, start=part, end=part + 1)
            if draw is None and isinstance(tile, Mapping):
                draw = tile.get("tile_draw")
        return ExplainedTile(tile, self.prepared[case], draw)


class TileSampler(DistributedSampler[int]):
    """Hand out the tile numbers of a `TileDataset`, shuffled anew in each epoch and shared out over the ranks.

    MONAI's engines call `set_epoch` when an epoch starts. Where the tiles cannot be shared out evenly, some are handed
    out twice, so that all ranks take the same number of steps.

    Args:
        dataset: The dataset.
        seed: Seed of the order.
    """

    def __init__(self, dataset: TileDataset, seed: int = 0) -> None:
        self._tiles_per_epoch = len(dataset)
        super().__init__(
            dataset,
            num_replicas=idist.get_world_size(),
            rank=idist.get_rank(),
            shuffle=True,
            seed=seed,
            drop_last=False,
        )

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's tile numbers of the epoch."""
        first = self.epoch * self._tiles_per_epoch
        return (first + tile for tile in super().__iter__())


def _samples(prepared: Any) -> Sequence[Any]:
    return prepared if isinstance(prepared, list) else [prepared]


def tile_loader(dataset: TileDataset, batch_size: int = 1, num_workers: int = 0) -> DataLoader:
    """Return a loader of training tiles, the same tiles in the same order for any number of workers.

    Args:
        dataset: The tiles; its seed is the seed of their order as well.
        batch_size: Tiles a step, on each rank.
        num_workers: Processes that prepare tiles; 0 prepares them between the steps.

    Raises:
        ConfigError: If a number is out of range.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if num_workers < 0:
        raise ConfigError(f"num_workers must be at least 0, got {num_workers}")
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=TileSampler(dataset, dataset.seed),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=_leave_interrupts_to_the_parent,
        # A loader draws a seed for workers that have no use for one, at times that depend on their number. Drawn from
        # torch's own generator, it would change the dropout of the network.
        generator=torch.Generator(),
    )


def _leave_interrupts_to_the_parent(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the run ends in one place, with one message.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
