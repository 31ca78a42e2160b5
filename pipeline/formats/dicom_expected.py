"""Holding a series against what it is read for: the modality and the units that a bundle was made for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydicom.sr.codedict import codes

from ..errors import ImageError
from .dicom_frames import Frame

_OTHER_NAMES: Final = {"MRI": "MR", "PET": "PT"}
_UNITS: Final = {"hounsfield": "HU"}


class ExpectedSeries(NamedTuple):
    """What a series must be.

    Attributes:
        modality: Modality (0008,0060), such as CT; None where any will do.
        units: Units of its values, such as HU; None likewise.
    """

    modality: str | None = None
    units: str | None = None


def expected_series(image: Mapping[str, Any]) -> ExpectedSeries:
    """Return what the metadata of a bundle say of its input.

    Args:
        image: `network_data_format::inputs::image` of `metadata.json`. Its `modality` counts where it is one that
            images are acquired with (PS3.16 CID 29), in capitals or not, or MRI or PET; `format` where it is
            `"hounsfield"`.

    Examples:
        >>> expected_series({"modality": "mri", "format": "magnitude"})
        ExpectedSeries(modality='MR', units=None)
        >>> expected_series({"modality": "n/a", "format": "hounsfield"})
        ExpectedSeries(modality=None, units='HU')
    """
    name = _plain(image.get("modality"))
    modality = _OTHER_NAMES.get(name, name)
    acquired = {getattr(codes.cid29, keyword).value for keyword in codes.cid29.dir()}
    return ExpectedSeries(
        modality if modality in acquired else None, _UNITS.get(str(image.get("format") or "").strip().lower())
    )


def check_modality(frames: Sequence[Frame], modality: str | None, allowed: Collection[str], repairs: list[str]) -> None:
    """Refuse a series of another modality; all frames have the same one.

    Raises:
        ImageError: If it is another one and the repair 'modality' is not allowed.
    """
    found = frames[0].facts.modality
    if modality is None or _plain(found) == _plain(modality):
        return
    if "modality" not in allowed:
        raise ImageError(
            f"the series is {found or 'of no stated modality'}; expected {modality}, which the bundle was made for; "
            f"choose a series of {modality} or another bundle, or allow the repair 'modality' to take it all the same"
        )
    repairs.append(f"modality: {found or 'a series of no stated modality'} taken where {modality} is expected")


def check_units(frames: Sequence[Frame], units: str | None, allowed: Collection[str], repairs: list[str]) -> None:
    """Refuse a series whose values are in other units, or in none that it states; all frames have the same.

    Raises:
        ImageError: If they are and the repair 'units' is not allowed.
    """
    found = frames[0].facts.units
    if units is None or _plain(found) == _plain(units):
        return
    if "units" not in allowed:
        raise ImageError(
            f"the values of the series are in {found or 'no units that it states'}; expected {units}, which the bundle "
            f"was made for; choose a series in {units} or another bundle, or allow the repair 'units' to take its "
            f"values for {units}"
        )
    # The text that the header has for units is free, and stays out of records.
    repairs.append(f"units: values in {'other' if found else 'unknown'} units taken for {units}")


def _plain(name: Any) -> str:
    return str(name or "").strip().upper()
