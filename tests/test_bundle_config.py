"""Config files of a bundle, arguments of the command line, and the network that a run recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.bundle_config import config_files, parse_bundle, parse_overrides, recorded_network
from pipeline.errors import ConfigError, MissingFileError

BUNDLE = Path(__file__).parents[1] / "bundles" / "em_membrane_segmentation"
OURS = {"_target_": "pipeline.networks.ValidUNet", "in_channels": 1, "channels": [64, 128]}


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


# --- the network of a run --------------------------------------------------------------------------------------------


def run_with(folder: Path, network_def: Any) -> Path:
    """A run with this record; return its checkpoint."""
    (folder / "models").mkdir()
    (folder / "log").mkdir()
    (folder / "log" / "run.json").write_text(json.dumps({"network_def": network_def}))
    return folder / "models" / "model.pt"


def test_the_network_that_the_run_recorded_is_found(tmp_path: Path) -> None:
    recorded = OURS | {"channels": [4, 8, 16], "variant": "release"}
    checkpoint = run_with(tmp_path, recorded)
    assert recorded_network(checkpoint, OURS) == recorded
    (tmp_path / "link.pt").symlink_to(checkpoint)
    checkpoint.touch()
    assert recorded_network(tmp_path / "link.pt", OURS) == recorded


@pytest.mark.parametrize(
    "recorded",
    [
        None,
        "ValidUNet",
        [],
        OURS | {"_target_": "os.system"},
        OURS | {"channels": "$__import__('os').mkdir('attack')"},
        OURS | {"channels": ["$__import__('os').mkdir('attack')"]},
        OURS | {"channels": [[{"a": "@device"}]]},
        OURS | {"channels": {"_target_": "os.mkdir", "path": "attack"}},
        OURS | {"_requires_": [["$__import__('os').mkdir('attack')"]]},
        OURS | {"_mode_": "debug"},
        OURS | {"variant": "%train.yaml::network_def"},
    ],
    ids=[
        *("nothing", "text", "list", "another target", "expression", "expression in a list", "deep reference"),
        *("component", "required first", "mode", "macro"),
    ],
)
def test_a_record_is_data_and_never_code(tmp_path: Path, recorded: Any) -> None:
    assert recorded_network(run_with(tmp_path, recorded), OURS) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff"], ids=["empty", "cut", "list", "number", "bytes"])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, text: str) -> None:
    checkpoint = run_with(tmp_path, OURS)
    (tmp_path / "log" / "run.json").write_text(text, errors="surrogateescape")
    assert recorded_network(checkpoint, OURS) is None


def test_a_checkpoint_outside_a_run_has_no_record(tmp_path: Path) -> None:
    run_with(tmp_path, OURS)
    assert recorded_network(tmp_path / "elsewhere" / "model.pt", OURS) is None
    assert recorded_network(tmp_path / "model.pt", OURS) is None
