"""Getting a data set ready before a run: generated where its manifest names a generator, and checked in any case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..errors import ManifestError
from .manifest import Manifest
from .manifest_entries import GeneratedSource
from .phantom_ct import generate_phantom_ct
from .phantom_em import generate_phantom_em

# The names that a manifest may give as its generator. A manifest is data: no other name in it is ever imported.
_GENERATORS: Final[Mapping[str, Callable[[Path, int, bool], None]]] = {
    "pipeline.data.generate_phantom_ct": generate_phantom_ct,
    "pipeline.data.generate_phantom_em": generate_phantom_em,
}


def prepare_data_set(
    manifest: Manifest, folder: str | Path, progress: bool = False, *, splits: Sequence[str] | None = None
) -> None:
    """Make sure that the files of a data set are in a folder and are the right ones.

    Files that are missing are generated if the manifest names a generator; otherwise they are an error that says where
    to get them. A file that is there but differs from the manifest is an error and stays as it is. Several processes
    (the ranks of one training) may call this at once on one folder: every file is renamed into place whole, and what
    each of them writes is the same.

    Args:
        manifest: The data set.
        folder: Where its files are or should go.
        progress: Whether to show a progress bar while files are generated.
        splits: The splits whose files are needed; all cases by default.

    Raises:
        MissingFileError: If a file is missing that cannot be generated.
        ManifestError: If a file differs from the manifest, or a split or the generator is unknown.
        OutputError: If a generated file cannot be written.
    """
    wanted: list[str | None] = [None] if splits is None else [*splits]
    is_complete = not any(manifest.missing_files(folder, split) for split in wanted)
    if not is_complete and isinstance(manifest.source, GeneratedSource):
        manifest.check_digests(folder)  # so that generating overwrites nothing but its own files
        _generate(manifest, manifest.source, Path(folder), progress)
    for split in wanted:
        manifest.check_files(folder, split)


def _generate(manifest: Manifest, source: GeneratedSource, folder: Path, progress: bool) -> None:
    """Run the generator that the manifest names."""
    if source.generator not in _GENERATORS:
        msg = (
            f"manifest {manifest.path}: generator {source.generator!r} is not known; "
            f"the generators are {list(_GENERATORS)}"
        )
        raise ManifestError(msg)
    _GENERATORS[source.generator](folder, source.seed, progress)
