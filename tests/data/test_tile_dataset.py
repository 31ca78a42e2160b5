"""Training tiles: what is drawn depends on (seed, epoch, case, repeat) alone; each case gets its share of an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from monai.transforms import Compose, MapTransform, RandScaleIntensityd, SelectItemsd
from torch import Tensor

from pipeline.data import TileDataset, TileSampler, tile_loader
from pipeline.errors import ConfigError, ManifestError
from pipeline.geometry import ValidGeometry
from pipeline.transforms import RandTiled, SplitSlicesd

CASES = ["a", "b", "c"]
GEOMETRY = ValidGeometry(depth=1, convs_per_block=1)  # a margin of 4 px, so that tiles may be small
TILE_PX = 20


class Prepared(MapTransform):
    """Makes the image of a case, and counts how often."""

    def __init__(self) -> None:
        super().__init__("case")
        self.calls: Counter[str] = Counter()

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        sample = dict(data)
        self.calls[sample["case"]] += 1
        generator = torch.Generator().manual_seed(ord(sample["case"]))
        sample["image"] = torch.rand((1, 24, 33), generator=generator)
        sample["label"] = (sample["image"] > 0.5).long()
        return sample


def transform_of(prepared: Prepared | None = None) -> Compose:
    tile = RandTiled(
        keys=["image", "label"],
        mode=["bilinear", "nearest"],
        output_keys="label",
        tile_px=TILE_PX,
        geometry=GEOMETRY,
        sigma_px=2.0,
    )
    return Compose(
        [
            prepared or Prepared(),
            tile,
            RandScaleIntensityd(keys="image", factors=0.2, prob=1.0),
            SelectItemsd(["image", "label", "case"]),
        ]
    )


def dataset_of(**changes: Any) -> TileDataset:
    arguments = {"tiles_per_case": 2, "seed": 5, **changes}
    return TileDataset([{"case": case} for case in CASES], transform_of(), **arguments)


def epochs_of(loader: Any, epochs: range) -> list[list[tuple[str, Tensor, Tensor]]]:
    """What MONAI's trainer is given: the tiles of each epoch, one by one, in order."""
    drawn = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        drawn.append(
            [
                (case, image, label)
                for batch in loader
                for case, image, label in zip(batch["case"], batch["image"], batch["label"], strict=True)
            ]
        )
    return drawn


def same(first: list[Any], second: list[Any]) -> bool:
    """Whether two epochs hold the same tiles in the same order."""
    return len(first) == len(second) and all(
        one[0] == other[0] and torch.equal(one[1], other[1]) and torch.equal(one[2], other[2])
        for one, other in zip(first, second, strict=True)
    )


@pytest.fixture(scope="module")
def wanted() -> list[list[tuple[str, Tensor, Tensor]]]:
    """Three epochs, drawn without workers."""
    return epochs_of(tile_loader(dataset_of()), range(1, 4))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(wanted: list[Any], workers: int) -> None:
    found = epochs_of(tile_loader(dataset_of(), num_workers=workers), range(1, 4))
    assert all(same(one, other) for one, other in zip(wanted, found, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_restart_changes_nothing(wanted: list[Any], workers: int) -> None:
    (third,) = epochs_of(tile_loader(dataset_of(), num_workers=workers), range(3, 4))
    assert same(wanted[2], third)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_generator_of_torch_is_neither_listened_to_nor_drawn_from(wanted: list[Any], workers: int) -> None:
    # Else dropout would depend on when a loader starts its workers.
    torch.manual_seed(77)
    expected = torch.rand(1)
    torch.manual_seed(77)
    (first,) = epochs_of(tile_loader(dataset_of(), num_workers=workers), range(1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert same(wanted[0], first)


def test_tiles_drawn_before_change_nothing() -> None:
    fresh, used = dataset_of(), dataset_of()
    for draw in (7, 3, 100):
        used[draw]
    assert torch.equal(fresh[4]["image"], used[4]["image"])


def test_two_ranks_share_the_steps_of_one_rank_with_twice_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tile_loader(dataset_of(), batch_size=2)
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr("ignite.distributed.get_rank", lambda rank=rank: rank)
        ranks.append(tile_loader(dataset_of(), batch_size=1))
    for loader in (one, *ranks):
        loader.sampler.set_epoch(2)
    assert [len(rank) for rank in ranks] == [len(one)] * 2
    for batch, first, second in zip(one, *ranks, strict=True):
        assert batch["case"] == first["case"] + second["case"]
        assert torch.equal(batch["image"], torch.cat([first["image"], second["image"]]))


def test_ranks_that_do_not_divide_the_tiles_all_take_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 4)
    drawn = []
    for rank in range(4):
        monkeypatch.setattr("ignite.distributed.get_rank", lambda rank=rank: rank)
        drawn.append([tile % 6 for tile in TileSampler(dataset_of(), seed=5)])
    assert [len(rank) for rank in drawn] == [2] * 4
    assert {tile for rank in drawn for tile in rank} == set(range(6))


def test_every_case_gives_its_tiles_in_every_epoch(wanted: list[Any]) -> None:
    for epoch in wanted:
        assert Counter(case for case, *_ in epoch) == dict.fromkeys(CASES, 2)


def test_no_tile_comes_twice(wanted: list[Any]) -> None:
    images = [image for epoch in wanted for _, image, _ in epoch]
    assert not any(torch.equal(one, other) for index, one in enumerate(images) for other in images[:index])


def test_epochs_have_an_order_of_their_own(wanted: list[Any]) -> None:
    orders = {tuple(tile for tile in _order(epoch)) for epoch in range(1, 9)}
    assert len(orders) > 4


def _order(epoch: int) -> list[int]:
    sampler = TileSampler(dataset_of(), seed=5)
    sampler.set_epoch(epoch)
    return [tile - 6 * epoch for tile in sampler]


def test_an_epoch_hands_out_its_own_numbers_once() -> None:
    for epoch in (1, 2, 10):
        assert sorted(_order(epoch)) == list(range(6))


def test_another_seed_draws_other_tiles_in_another_order(wanted: list[Any]) -> None:
    others = epochs_of(tile_loader(dataset_of(seed=6)), range(1, 4))
    assert [case for epoch in others for case, *_ in epoch] != [case for epoch in wanted for case, *_ in epoch]
    assert not torch.equal(dataset_of(seed=6)[6]["image"], dataset_of(seed=5)[6]["image"])


def test_cases_are_prepared_once_when_the_dataset_is_made() -> None:
    prepared = Prepared()
    dataset = TileDataset([{"case": case} for case in CASES], transform_of(prepared), tiles_per_case=3)
    assert prepared.calls == dict.fromkeys(CASES, 1)
    for draw in range(20):
        dataset[draw]
    assert prepared.calls == dict.fromkeys(CASES, 1)
    assert len(dataset) == 9


def test_drawing_leaves_what_was_prepared_unchanged() -> None:
    dataset = dataset_of()
    before = [sample["image"].clone() for sample in dataset.prepared]
    for draw in range(20):
        dataset[draw]
    assert all(torch.equal(one, sample["image"]) for one, sample in zip(before, dataset.prepared, strict=True))


def test_every_slice_of_a_volume_gives_its_tiles() -> None:
    class Volumes(MapTransform):
        """Makes volumes of 2 and 3 slices, whose pixels tell volume and slice apart."""

        def __init__(self) -> None:
            super().__init__("case")

        def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
            count = {"a": 2, "b": 3}[data["case"]]
            image = torch.full((1, 24, 33, 1), 10.0 * count) + torch.arange(count)
            return {**data, "image": image, "label": torch.zeros_like(image).long()}

    tile = RandTiled(
        keys=["image", "label"],
        mode=["bilinear", "nearest"],
        output_keys="label",
        tile_px=TILE_PX,
        geometry=GEOMETRY,
    )
    transform = Compose([Volumes(), SplitSlicesd(["image", "label"]), tile])
    tiles = TileDataset([{"case": "a"}, {"case": "b"}], transform, tiles_per_case=2, seed=5)
    assert len(tiles) == 10
    drawn = Counter((tile["case"], tile["slice"], round(tile["image"].mean().item())) for tile in tiles)
    assert drawn == {
        ("a", 0, 20): 2,
        ("a", 1, 21): 2,
        ("b", 0, 30): 2,
        ("b", 1, 31): 2,
        ("b", 2, 32): 2,
    }


def test_a_case_that_cannot_be_prepared_stops_before_training() -> None:
    def refuse(sample: Any) -> Any:
        raise ManifestError("case 'b' is broken")

    with pytest.raises(RuntimeError) as caught:
        TileDataset([{"case": "b"}], Compose([refuse, *transform_of().transforms]))
    assert isinstance(caught.value.__cause__, ManifestError)


def test_a_split_without_cases_is_refused() -> None:
    with pytest.raises(ManifestError, match="the training split has no cases; name a split of the manifest"):
        TileDataset([], transform_of())


@pytest.mark.parametrize("tiles", [0, -1])
def test_less_than_one_tile_a_case_is_refused(tiles: int) -> None:
    with pytest.raises(ConfigError, match=f"tiles_per_case must be at least 1, got {tiles}"):
        dataset_of(tiles_per_case=tiles)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
    ],
    ids=["batch", "workers"],
)
def test_a_loader_with_numbers_out_of_range_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tile_loader(dataset_of(), **changes)
