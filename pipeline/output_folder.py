"""The folder that results go into: made for the first of them, and gone again where none came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder; where the block ends with an error, remove it and its parents if they were made and are empty.

    Args:
        path: The folder; it may be there already, and then stays.

    Raises:
        OSError: If it cannot be made.
    """
    folder = Path(path)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        for one in made:
            if not one.is_dir() or any(one.iterdir()):
                break
            one.rmdir()
        raise
