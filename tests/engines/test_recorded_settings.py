"""What the record of a run says of its settings, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.bundle_config import config_files, parse_bundle
from pipeline.engines import recorded_network, recorded_settings, take_recorded
from pipeline.errors import ConfigError

BUNDLES = Path(__file__).parents[2] / "bundles"
OURS = {"_target_": "pipeline.networks.ValidUNet", "in_channels": 1, "channels": [64, 128]}

# --- the network of a run --------------------------------------------------------------------------------------------


def run_with(folder: Path, network_def: Any, config: Any = None) -> Path:
    """A run with this record; return its checkpoint."""
    (folder / "models").mkdir()
    (folder / "log").mkdir()
    (folder / "log" / "run.json").write_text(json.dumps({"network_def": network_def, "config": config}))
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


# --- what the network was given --------------------------------------------------------------------------------------

CT = BUNDLES / "phantom_ct_segmentation"


def ct_config(**overrides: Any) -> Any:
    return parse_bundle(config_files(CT, "inference"), overrides)


def ct_run(folder: Path, **changes: Any) -> Path:
    """A run that recorded its training config, some ids of which were set on the command line."""
    parser = parse_bundle(config_files(CT, "train"), changes)
    network = network_arguments(parser)
    return run_with(folder, network, json.loads(json.dumps(parser.get(), default=str)))


def network_arguments(parser: Any) -> dict[str, Any]:
    """Resolve the references of the network by hand."""
    arguments = dict(parser.get("network_def"))
    return arguments | {"in_channels": parser.get("slices"), "out_channels": parser.get("num_classes")}


def test_a_run_with_the_settings_of_the_bundle_changes_nothing(tmp_path: Path) -> None:
    parser = ct_config()
    recorded = recorded_settings(parser, ct_run(tmp_path))
    assert (recorded.taken, recorded.contradicted) == ({}, {})


def test_ids_that_the_preprocessing_and_the_network_refer_to_are_taken(tmp_path: Path) -> None:
    changes = {"pixel_mm": 6.0, "window_hu": [-200.0, 300.0], "slices": 5, "orientation": "LPS", "num_classes": 3}
    checkpoint = ct_run(tmp_path, **changes, seed=7, tile_px=140, batch_size=2)
    parser = ct_config()
    recorded = recorded_settings(parser, checkpoint)
    assert recorded.taken == changes
    assert recorded.contradicted == {}
    take_recorded(parser, recorded)
    network = parser.get_parsed_content("network_def")
    assert (network.in_channels, network.out_channels) == (5, 3)
    window = parser.get_parsed_content("preprocessing").transforms[3]
    assert (window.scaler.a_min, window.scaler.a_max) == (-200, 300)
    assert (parser.get("tile_px"), parser.get("batch_size")) == ("auto", 8)


SPLEEN = {"segments::0::label": "Spleen", "segments::0::type::value": "78961009"}


def test_a_network_that_shows_something_else_is_refused(tmp_path: Path) -> None:
    checkpoint = ct_run(tmp_path, **SPLEEN)
    message = r"segment 1 of the config is 'Liver' .* 10200004\), and the network .* 'Spleen' \(SNOMED CT 78961009\)"
    with pytest.raises(ConfigError, match=message):
        recorded_settings(ct_config(), checkpoint)
    assert recorded_settings(ct_config(**SPLEEN), checkpoint).taken == {}


def test_the_colour_of_a_segment_is_a_matter_of_taste(tmp_path: Path) -> None:
    assert recorded_settings(ct_config(), ct_run(tmp_path, **{"segments::0::color_rgb": [1, 2, 3]})).taken == {}


def test_what_is_chosen_counts_and_is_told(tmp_path: Path) -> None:
    checkpoint = ct_run(tmp_path, pixel_mm=6.0, slices=5)
    parser = ct_config(pixel_mm=2.0, slices=3, window_hu=(-110.0, 190.0))
    recorded = recorded_settings(parser, checkpoint, ["pixel_mm", "slices", "window_hu"])
    assert recorded.taken == {}
    assert recorded.contradicted == {"pixel_mm": 6.0, "slices": 5}
    take_recorded(parser, recorded)
    assert parser.get("pixel_mm") == 2.0
    assert parser.get_parsed_content("network_def").in_channels == 3


def test_a_part_that_is_chosen_leaves_the_others_of_the_network(tmp_path: Path) -> None:
    checkpoint = ct_run(tmp_path, **{"network_def::channels": [4, 6, 8], "network_def::dropout": 0.0})
    parser = ct_config(**{"network_def::dropout": 0.1})
    recorded = recorded_settings(parser, checkpoint, ["network_def::dropout"])
    assert recorded.taken == {"network_def::channels": [4, 6, 8]}
    assert recorded.contradicted == {"network_def::dropout": 0.0}
    take_recorded(parser, recorded)
    assert parser.get_parsed_content("network_def").channels == (4, 6, 8)
    assert parser.get("network_def::dropout") == 0.1


@pytest.mark.parametrize(
    "value",
    ["$__import__('os').mkdir('attack')", "@device", ["%x"], {"_target_": "os.mkdir", "path": "attack"}],
    ids=["expression", "reference", "macro", "component"],
)
def test_settings_of_a_record_are_data_and_never_code(tmp_path: Path, value: Any) -> None:
    network = network_arguments(ct_config())
    checkpoint = run_with(tmp_path, network, {"pixel_mm": value, "bundle_root": "/elsewhere", "orientation": "LPS"})
    assert recorded_settings(ct_config(), checkpoint).taken == {"orientation": "LPS"}


def test_a_value_of_another_kind_is_refused(tmp_path: Path) -> None:
    parser = ct_config()
    checkpoint = run_with(tmp_path, network_arguments(parser), {"pixel_mm": "wide"})
    with pytest.raises(ConfigError, match="config id 'pixel_mm' is 'wide'; expected a number"):
        take_recorded(parser, recorded_settings(parser, checkpoint))


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("phantom_ct_segmentation", ["num_classes", "orientation", "pixel_mm", "slices", "window_hu"]),
        ("hippocampus_mr_segmentation", ["num_classes", "orientation", "slices"]),
        ("em_membrane_segmentation", ["num_classes"]),
    ],
)
def test_the_knobs_of_each_bundle_that_a_network_depends_on(tmp_path: Path, name: str, ids: list[str]) -> None:
    train = parse_bundle(config_files(BUNDLES / name, "train"), {}).get()
    other = {"num_classes": 7, "orientation": "RAS", "pixel_mm": 9.0, "slices": 1, "window_hu": [0.0, 1.0]}
    config = {id_: other.get(id_, value) for id_, value in train.items() if not isinstance(value, dict)}
    parser = parse_bundle(config_files(BUNDLES / name, "inference"), {})
    recorded = recorded_settings(parser, run_with(tmp_path, None, config))
    assert recorded.taken == {id_: other[id_] for id_ in ids}
