"""Finding inputs and naming results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, ImageError, MissingFileError, OutputError
from pipeline.formats import ResultPaths, find_inputs, image_records, plan_results

Touch = Callable[..., list[Path]]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Create empty files by their paths below the temporary folder."""

    def create(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return paths

    return create


def _names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_a_folder_comes_in_natural_order(tmp_path: Path, touch: Touch) -> None:
    touch("10.png", "2.png", "1.png", "a10b2.tif", "a2b10.tif", "a10b1.TIFF", "B1.png")
    assert _names(find_inputs([tmp_path]).images) == [
        "1.png",
        "2.png",
        "10.png",
        "a2b10.tif",
        "a10b1.TIFF",
        "a10b2.tif",
        "B1.png",
    ]


@settings(deadline=None)
@given(numbers=st.sets(st.integers(0, 10**12), min_size=1, max_size=20))
def test_numbered_files_come_in_the_order_of_their_numbers(
    tmp_path_factory: pytest.TempPathFactory, numbers: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("numbered")
    for number in numbers:
        (folder / f"slice_{number}.png").touch()
    assert _names(find_inputs([folder]).images) == [f"slice_{number}.png" for number in sorted(numbers)]


def test_what_is_no_image_is_skipped_and_counted(tmp_path: Path, touch: Touch) -> None:
    touch("1.png", "Thumbs.db", ".DS_Store", "notes.txt", "._1.png", ".partial-0a.tif", "deeper/2.png", "odd.tif/3.png")
    inputs = find_inputs([tmp_path])
    assert _names(inputs.images) == ["1.png"]
    skipped = {"._1.png", ".DS_Store", ".partial-0a.tif", "Thumbs.db", "deeper", "notes.txt", "odd.tif"}
    assert len(inputs.skipped) == len(skipped)
    assert set(_names(inputs.skipped)) == skipped


def test_zarr_folders_are_images_alone_and_in_a_folder(tmp_path: Path, touch: Touch) -> None:
    touch("in/10.ome.zarr/zarr.json", "in/9.zarr/.zgroup", "in/1.png", "in/.partial-1/run.json", "in/11.zarr.zip")
    inputs = find_inputs([tmp_path / "in"])
    assert _names(inputs.images) == ["1.png", "9.zarr", "10.ome.zarr"]
    assert set(_names(inputs.skipped)) == {".partial-1", "11.zarr.zip"}
    assert find_inputs([tmp_path / "in" / "9.zarr"]).images == (tmp_path / "in" / "9.zarr",)


def test_a_bundle_that_loads_whole_images_passes_zarr_over(tmp_path: Path, touch: Touch) -> None:
    touch("9.zarr/.zgroup", "1.png")
    assert [record["image"] for record in image_records(tmp_path)] == [str(tmp_path / "1.png")]


def test_a_file_named_zarr_is_no_image(tmp_path: Path, touch: Touch) -> None:
    touch("9.zarr")
    with pytest.raises(ImageError, match=r"9\.zarr is not named as an image"):
        find_inputs([tmp_path / "9.zarr"])


def test_the_order_of_the_command_line_is_kept(tmp_path: Path, touch: Touch) -> None:
    last, *_ = touch("z.tif", "folder/2.png", "folder/10.png", "a.png")
    inputs = find_inputs([last, tmp_path / "folder", str(tmp_path / "a.png")])
    assert _names(inputs.images) == ["z.tif", "2.png", "10.png", "a.png"]
    assert inputs.skipped == ()


def test_a_file_named_twice_counts_once(tmp_path: Path, touch: Touch) -> None:
    touch("x/1.png", "x/2.png")
    inputs = find_inputs([tmp_path / "x" / "2.png", tmp_path / "x", tmp_path / "x" / ".." / "x" / "1.png"])
    assert _names(inputs.images) == ["2.png", "1.png"]


def test_two_links_to_one_image_are_two_images(tmp_path: Path, touch: Touch) -> None:
    touch("1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "1.png")
    assert _names(find_inputs([tmp_path]).images) == ["1.png", "2.png"]


def test_no_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="no input given; name at least one image file or a folder"):
        find_inputs([])


@pytest.mark.parametrize("name", ["nowhere.png", "nowhere.tif", "nowhere", "photo.jpg"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=rf"{name} not found"):
        find_inputs([tmp_path / name])


@pytest.mark.parametrize("name", ["image", "photo.jpg", "scan.dcm"])
def test_a_file_not_named_as_an_image_is_refused(tmp_path: Path, touch: Touch, name: str) -> None:
    touch(name)
    with pytest.raises(ImageError, match=rf"{name} is not named as an image"):
        find_inputs([tmp_path / name])


def test_a_broken_link_in_a_folder_is_not_passed_over(tmp_path: Path, touch: Touch) -> None:
    touch("1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(MissingFileError, match=r"2\.png not found"):
        find_inputs([tmp_path])


def test_an_empty_folder_is_refused_with_the_accepted_suffixes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        MissingFileError,
        match=r"empty holds no image \(0 other entries\); expected files ending in \.png, \.tif, \.tiff",
    ):
        find_inputs([tmp_path / "empty"])


def test_a_folder_of_folders_is_refused(tmp_path: Path, touch: Touch) -> None:
    touch("deeper/1.png")
    with pytest.raises(MissingFileError, match=r"holds no image \(1 other entry\).*; name the folder that holds them"):
        find_inputs([tmp_path])


@pytest.mark.parametrize(
    ("source", "mask", "instances"),
    [
        ("cell.png", "cell_mask.png", "cell_instances.png"),
        ("cell.PNG", "cell_mask.png", "cell_instances.png"),
        ("cell.tif", "cell_mask.tif", "cell_instances.tif"),
        ("cell.TIFF", "cell_mask.tif", "cell_instances.tif"),
        ("cell.ome.tif", "cell_mask.tif", "cell_instances.tif"),
        ("cell.v1.png", "cell.v1_mask.png", "cell.v1_instances.png"),
        ("cell.zarr", "cell_mask.tif", "cell_instances.tif"),
        ("cell.ome.zarr", "cell_mask.tif", "cell_instances.tif"),
    ],
)
def test_results_are_named_after_the_image(source: str, mask: str, instances: str) -> None:
    results = ResultPaths(Path("in") / source, Path("out"))
    assert results.mask == Path("out") / mask
    assert results.instances == Path("out") / instances
    assert results.probability == Path("out") / mask.replace("_mask", "_probability").replace(".png", ".tif")
    assert results.overlay == Path("out") / mask.replace("_mask", "_overlay").replace(".tif", ".png")
    assert results.of_kind("mask") == results.mask
    assert results.of_kind("instances") == results.instances
    assert results.of_kind("probability") == results.probability
    assert results.of_kind("overlay") == results.overlay


def test_the_plan_keeps_the_order(tmp_path: Path, touch: Touch) -> None:
    images = touch("2.png", "1.png")
    assert plan_results(images, tmp_path / "out") == [ResultPaths(image, tmp_path / "out") for image in images]


@pytest.mark.parametrize(
    "names", [("a/1.png", "b/1.png"), ("1.png", "1.tif"), ("1.ome.tif", "1.tif"), ("1.tif", "1.tiff")]
)
def test_inputs_that_would_share_a_result_are_both_named(tmp_path: Path, touch: Touch, names: tuple[str, str]) -> None:
    first, second = touch(*names)
    with pytest.raises(OutputError, match=rf"inputs {first} and {second} would both write .*/1_\w+\.(png|tif)"):
        plan_results([first, second], tmp_path / "out")


def test_results_may_lie_beside_the_inputs(tmp_path: Path, touch: Touch) -> None:
    (result,) = plan_results(touch("1.png"), tmp_path)
    assert result.mask == tmp_path / "1_mask.png"


@pytest.mark.parametrize("kind", ["mask.png", "instances.png", "probability.tif", "overlay.png"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_result_never_overwrites_an_input(tmp_path: Path, touch: Touch, kind: str, overwrite: bool) -> None:
    images = touch("x/1.png", f"1_{kind}")
    with pytest.raises(
        OutputError, match=rf"of .*/1\.png would overwrite the input .*/1_{kind}; choose another output"
    ):
        plan_results(images, tmp_path, overwrite=overwrite)


def test_an_input_is_protected_behind_a_link_too(tmp_path: Path, touch: Touch) -> None:
    images = touch("x/1.png", "y/1_mask.png")
    (tmp_path / "out").symlink_to(tmp_path / "y")
    with pytest.raises(OutputError, match="would overwrite the input"):
        plan_results(images, tmp_path / "out")


def test_running_twice_into_the_folder_of_the_inputs_is_refused(tmp_path: Path, touch: Touch) -> None:
    touch("1.png", "1_mask.png")
    with pytest.raises(OutputError, match="leave results of earlier runs out of the inputs"):
        plan_results(find_inputs([tmp_path]).images, tmp_path, overwrite=True)


def test_an_existing_result_is_found_before_the_run(tmp_path: Path, touch: Touch) -> None:
    first, second, _ = touch("1.png", "2.png", "out/2_mask.png")
    with pytest.raises(OutputError, match=r"out/2_mask\.png already exists; pass --force"):
        plan_results([first, second], tmp_path / "out", kinds=["mask"])
    assert len(plan_results([first, second], tmp_path / "out", kinds=["mask"], overwrite=True)) == 2
    assert len(plan_results([first, second], tmp_path / "out", kinds=["overlay"])) == 2


def test_results_of_an_unfinished_run_do_not_stop_the_next_one(tmp_path: Path, touch: Touch) -> None:
    image, _, mark = touch("1.tif", "out/1_mask.tif", "out/.partial-1/mask.begun")
    assert mark == ResultPaths(image, tmp_path / "out").mark("mask")
    assert len(plan_results([image], tmp_path / "out", kinds=["mask", "instances"])) == 1
    touch("out/1_instances.tif")
    with pytest.raises(OutputError, match=r"out/1_instances\.tif already exists; pass --force"):
        plan_results([image], tmp_path / "out", kinds=["mask", "instances"])


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path, touch: Touch) -> None:
    image, _ = touch("1.png", "out")
    with pytest.raises(OutputError, match=r"output folder .*out is a file; name a folder"):
        plan_results([image], tmp_path / "out")
