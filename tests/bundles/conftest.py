"""Running the bundle as MONAI runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

CONFIGS = Path(__file__).parents[2] / "bundles" / "em_membrane_segmentation" / "configs"


@pytest.fixture
def bundle_run(
    processes: Any, small_run: dict[str, Any], tmp_path: Path, as_options: Callable[..., list[str]]
) -> Callable[..., Any]:
    """Start `python -m monai.bundle run RUN_ID` on the real bundle, with small settings, in an empty folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def start(
        run_id: str,
        configs: str,
        output_dir: Path,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Start a run and return it; `configs` are names such as `"train+demo"`."""
        files = [str(CONFIGS / f"{name}.yaml") for name in configs.split("+")]
        own = {"dataset_dir": f"{small_run['dataset_dir']}/image"} if configs.startswith("inference") else small_run
        words = as_options({**own, "output_dir": str(output_dir), **(settings or {})})
        arguments = ["run", run_id, "--config_file", str(files), "--bundle_root", str(CONFIGS.parent), *words]
        return processes.start("monai.bundle", arguments, elsewhere, **options)

    return start
