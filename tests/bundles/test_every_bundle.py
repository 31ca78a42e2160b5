"""What holds for every bundle in the repository, also for the next one: that its files say one thing."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, verify_net_in_out

BUNDLES = Path(__file__).parents[2] / "bundles"


@dataclass(frozen=True)
class Bundle:
    """The files of a bundle's `configs`."""

    configs: Path

    def config(self, name: str) -> dict[str, Any]:
        return dict(ConfigParser.load_config_file(str(self.configs / f"{name}.yaml")))

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(json.loads((self.configs / "metadata.json").read_text(encoding="utf-8")))

    @property
    def tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the metadata say of the network's input and output."""
        (image,) = self.metadata["network_data_format"]["inputs"].values()
        (pred,) = self.metadata["network_data_format"]["outputs"].values()
        return image, pred

    @property
    def few_channels(self) -> list[int]:
        """The depth of the network without its width: sizes are the same, in a moment."""
        return [2] * len(self.config("inference")["network_def"]["channels"])


@pytest.fixture(params=sorted(path.parent.name for path in BUNDLES.glob("*/configs")))
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """One bundle after the other."""
    return Bundle(BUNDLES / request.param / "configs")


def test_metadata_is_complete(bundle: Bundle) -> None:
    metadata = bundle.metadata
    assert metadata.keys() >= {
        *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"),
        *("required_packages_version", "task", "description", "authors", "copyright", "network_data_format"),
        *("name", "intended_use"),
    }
    assert metadata["version"] in metadata["changelog"]
    assert "not a medical device" in metadata["intended_use"].lower()
    for tensor in bundle.tensors:
        assert tensor.keys() >= {*("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")}


def test_the_sizes_in_the_metadata_are_those_of_the_network(bundle: Bundle) -> None:
    image, pred = bundle.tensors
    parser = ConfigParser(bundle.config("inference"))
    parser["network_def::channels"] = bundle.few_channels
    network = parser.get_parsed_content("network_def").eval()
    with torch.inference_mode():
        found = network(torch.zeros(1, image["num_channels"], *image["spatial_shape"]))
    assert found.shape == (1, pred["num_channels"], *pred["spatial_shape"])
    assert image["spatial_shape"] == [bundle.config("train")["tile_px"]] * 2


def test_monai_verifies_the_network_against_the_metadata(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        verify_net_in_out(
            "network_def",
            config_file=str(bundle.configs / "inference.yaml"),
            meta_file=str(bundle.configs / "metadata.json"),
            device="cpu",
            **{"network_def::channels": bundle.few_channels},
        )
    assert "data shape of network is verified with no error" in caplog.text


def test_training_and_inference_share_what_the_network_depends_on(bundle: Bundle) -> None:
    train, inference = bundle.config("train"), bundle.config("inference")
    knobs = {"slices", "orientation", "axis_letters", "pixel_mm", "window_hu", "segments"} & inference.keys()
    # Segments of a bundle whose labels hold class indices are named by inference alone.
    shared = {"network_def", "num_classes", "device", "bundle_root", *knobs} - ({"segments"} - train.keys())
    assert {name: train[name] for name in shared} == {name: inference[name] for name in shared}


def test_a_bundle_is_configs_documents_and_a_licence(bundle: Bundle) -> None:
    root = bundle.configs.parent
    assert {path.name for path in root.iterdir()} - {"models", "log", "datasets"} == {"configs", "docs", "LICENSE"}
    assert (root / "docs" / "README.md").is_file()
    assert (root / "docs" / "data_license.txt").is_file()
