"""Config files of a bundle, and arguments of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bundle_config import config_files, parse_bundle, parse_overrides
from pipeline.errors import ConfigError, MissingFileError

BUNDLE = Path(__file__).parents[1] / "bundles" / "em_membrane_segmentation"


def test_overlays_follow_the_base_in_the_order_given() -> None:
    files = config_files(BUNDLE, "train", ["demo", "multi_gpu_train"])
    assert [file.name for file in files] == ["train.yaml", "demo.yaml", "multi_gpu_train.yaml"]
    assert all(file.is_file() for file in files)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        MissingFileError, match=r"bundle .* not found: a bundle is a folder with a configs folder in it"
    ):
        config_files(tmp_path, "train")


def test_a_mistyped_overlay_is_refused_with_the_nearest() -> None:
    with pytest.raises(MissingFileError, match=r"has no config 'dmeo'; did you mean 'demo'\?"):
        config_files(BUNDLE, "train", ["dmeo"])


def test_an_unknown_overlay_is_refused_with_all_there_are() -> None:
    with pytest.raises(MissingFileError, match=r"has no config 'qqq'; there are demo, evaluate, inference, .*train"):
        config_files(BUNDLE, "train", ["qqq"])


def test_a_json_config_is_found(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text("{}")
    assert [file.name for file in config_files(tmp_path, "train")] == ["train.json"]


def test_arguments_are_read_as_monai_reads_them_and_true_and_false_as_switches() -> None:
    settings = ["a=3", "b=1e-3", "c=[8,16]", "d=true", "e=True", "f=cpu", "g=@h", "i::j=a=b", "k=", "l='3'"]
    assert parse_overrides(settings) == {
        **{"a": 3, "b": 0.001, "c": [8, 16], "d": True, "e": True, "f": "cpu", "g": "@h"},
        **{"i::j": "a=b", "k": "", "l": "3"},
    }


@pytest.mark.parametrize("setting", ["max_epochs", "=3", ""])
def test_an_argument_without_name_or_value_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="must be id=value, for example max_epochs=5"):
        parse_overrides([setting])


def test_a_config_that_is_not_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("a: [1, 2\n")
    with pytest.raises(ConfigError, match=r"config train\.yaml is not valid: .*train\.yaml.*line 2") as caught:
        parse_bundle([tmp_path / "train.yaml"], {})
    assert "\n" not in str(caught.value)


def test_overrides_are_laid_over_the_overlays() -> None:
    files = config_files(BUNDLE, "train", ["demo"])
    assert parse_bundle(files, {}).get("tile_px") == 380
    parser = parse_bundle(files, {"tile_px": 188, "network_def::channels": [2, 3]})
    assert parser.get_parsed_content("tile_px") == 188
    assert parser.get_parsed_content("network_def").channels == (2, 3)
