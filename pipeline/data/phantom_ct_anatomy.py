"""The abdomen of a made-up patient: what lies where, in integers, so that a seed gives the same on any machine.

Places are LPS coordinates (x to the patient's left, y to the back, z to the head) in sixteenths of a millimetre, from
the middle of the trunk at the height of the liver's lower half.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from .integer_fields import DIRECTIONS, Field, Mask, RawStream, sine_q10

_SINE_Q10: Final = np.array([sine_q10(direction) for direction in range(DIRECTIONS)], dtype=np.int64)
_LESION_REACH_MM: Final = 14
"""How far above and below the middle the centres of lesions lie: every scan of the trunk shows them."""
_TO_NEIGHBOURS: Final = np.array(
    [[0, 1, -1, 0, 0, 0, 0], [0, 0, 0, 1, -1, 0, 0], [0, 0, 0, 0, 0, 1, -1]], dtype=np.int64
)


class Tissue(IntEnum):
    """What a place in or around a patient is made of."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    LIVER_VESSEL = 4
    LESION = 5
    RIGHT_KIDNEY = 6
    RIGHT_SINUS = 7
    LEFT_KIDNEY = 8
    SPLEEN = 9
    STOMACH = 10
    GAS = 11
    BOWEL = 12
    GALLBLADDER = 13
    BLOOD = 14
    BONE = 15
    MARROW = 16


class _Blob(NamedTuple):
    """An ellipsoid in sixteenths of a millimetre, which leans to the left by `lean_q6` / 64 mm a mm upwards."""

    centre: tuple[int, int, int]
    half_axes: tuple[int, int, int]
    lean_q6: int = 0

    def grown(self, by_mm: int) -> _Blob:
        x, y, z = (half + 16 * by_mm for half in self.half_axes)
        return _Blob(self.centre, (x, y, z), self.lean_q6)

    def holds(self, places: Field) -> Mask:
        x, y, z = (places[axis] - self.centre[axis] for axis in range(3))
        x = x - (z * self.lean_q6 >> 6)
        square = sum(((part << 10) // half) ** 2 for part, half in zip((x, y, z), self.half_axes, strict=True))
        inside: Mask = square <= 1 << 20
        return inside


class _Tube(NamedTuple):
    """All places within a radius of a line from one point to another, in sixteenths of a millimetre."""

    start: tuple[int, int, int]
    end: tuple[int, int, int]
    radius: int

    def holds(self, places: Field) -> Mask:
        step = [end - start for start, end in zip(self.start, self.end, strict=True)]
        offset = [places[axis] - self.start[axis] for axis in range(3)]
        along = sum(part * length for part, length in zip(offset, step, strict=True))
        length_square = max(sum(length * length for length in step), 1)
        share_q8 = np.clip((along << 8) // length_square, 0, 256)
        square = sum((part - (length * share_q8 >> 8)) ** 2 for part, length in zip(offset, step, strict=True))
        inside: Mask = square <= self.radius * self.radius
        return inside


@dataclass(frozen=True)
class Anatomy:
    """One patient, as `draw_anatomy` makes one up. What it holds is private to this module."""

    waves: tuple[tuple[int, ...], ...]
    body: tuple[int, int]
    organs: dict[str, _Blob]
    bowel: tuple[_Blob, ...]
    vessels: tuple[_Tube, ...]
    lesions: tuple[_Blob, ...]

    def tissue(self, places: Field, growth_mm: int = 0) -> Field:
        """Return what is where.

        Args:
            places: (3, ...) LPS coordinates in sixteenths of a millimetre.
            growth_mm: By how much the lesions have grown in radius.

        Returns:
            (...) values of `Tissue`.
        """
        # Skin and wall keep their place; what lies within is displaced smoothly, so that no organ is an ellipsoid.
        warped = places + self._displacement(places)
        depth_q10 = sum(((places[axis] << 10) // self.body[axis]) ** 2 for axis in (0, 1)) >> 10
        organs, found = self.organs, np.zeros(places.shape[1:], dtype=np.int64)

        def paint(tissue: Tissue, where: Mask) -> None:
            found[where] = tissue

        paint(Tissue.FAT, depth_q10 <= 1024)
        paint(Tissue.MUSCLE, depth_q10 <= 840)
        paint(Tissue.FAT, depth_q10 <= 690)  # a thin layer between the wall and the organs
        cavity = depth_q10 <= 655
        for name, tissue in (("liver", Tissue.LIVER), ("spleen", Tissue.SPLEEN), ("stomach", Tissue.STOMACH)):
            paint(tissue, cavity & organs[name].holds(warped))
        paint(Tissue.GAS, (found == Tissue.STOMACH) & (places[1] < organs["stomach"].centre[1] - 12 * 16))
        for loop in self.bowel:
            paint(Tissue.BOWEL, cavity & (found == Tissue.FAT) & loop.holds(warped))
        paint(Tissue.GALLBLADDER, cavity & organs["gallbladder"].holds(warped))
        paint(Tissue.BLOOD, organs["vena_cava"].holds(warped) | organs["aorta"].holds(warped))
        # Fat parts kidney and liver in some places; in others they touch.
        parted = self._displacement(places)[1] > 36
        for side, tissue in (("right", Tissue.RIGHT_KIDNEY), ("left", Tissue.LEFT_KIDNEY)):
            kidney, sinus = organs[f"{side}_kidney"], organs[f"{side}_sinus"].holds(warped)
            paint(Tissue.FAT, cavity & parted & kidney.grown(4).holds(warped))
            inside = cavity & kidney.holds(warped)
            paint(tissue, inside)
            paint(Tissue.RIGHT_SINUS if side == "right" else Tissue.FAT, inside & sinus)
        paint(Tissue.MUSCLE, organs["psoas_right"].holds(places) | organs["psoas_left"].holds(places))
        paint(Tissue.BONE, organs["vertebra"].holds(places))
        paint(Tissue.MARROW, organs["marrow"].holds(places))
        for vessel in self.vessels:
            paint(Tissue.LIVER_VESSEL, (found == Tissue.LIVER) & vessel.holds(warped))
        for lesion in self.lesions:
            of_liver = (found == Tissue.LIVER) | (found == Tissue.LIVER_VESSEL)
            paint(Tissue.LESION, of_liver & lesion.grown(growth_mm).holds(warped))
        return found

    def _displacement(self, places: Field) -> Field:
        """Return (3, ...) displacements: a sum of waves, of a few mm each."""
        moved = np.zeros_like(places)
        for axis, amplitude, *wave, phase in self.waves:
            turned = sum(places[along] * wave[along] for along in range(3)) >> 12
            moved[axis] += amplitude * _SINE_Q10[(turned + phase) % DIRECTIONS] >> 10
        return moved


def draw_anatomy(stream: RawStream, lesions: int) -> Anatomy:
    """Make up a patient.

    Args:
        stream: Where the randomness comes from; what is drawn, and in which order, is frozen.
        lesions: How many lesions the liver has.
    """
    scale_q8 = stream.integer(236, 272)

    def length(mm: int, spread_mm: int = 0) -> int:
        drawn = stream.integer(-spread_mm * 16, spread_mm * 16 + 1) if spread_mm else 0
        return (mm * 16 + drawn) * scale_q8 >> 8

    def blob(centre: tuple[int, int, int], half_axes: tuple[int, int, int], spread_mm: int = 0, lean: int = 0) -> _Blob:
        x, y, z = (length(part, spread_mm) for part in centre)
        half_x, half_y, half_z = (length(half, min(spread_mm, half >> 3)) for half in half_axes)
        return _Blob((x, y, z), (half_x, half_y, half_z), lean)

    body = length(148, 3), length(104, 3)
    organs = {
        "liver": blob((-50, -8, 22), (70, 62, 78), 5, stream.integer(-10, 11)),
        "spleen": blob((86, 20, 22), (26, 40, 46), 5),
        "stomach": blob((46, -32, 16), (38, 30, 46), 6),
        "gallbladder": blob((-38, -44, -16), (14, 12, 26), 5),
        "vena_cava": blob((-13, 24, 0), (11, 9, 800), 2),
        "aorta": blob((9, 27, 0), (10, 10, 800), 2),
        "right_kidney": blob((-56, 40, -16), (27, 22, 50), 4, stream.integer(-14, -5)),
        "left_kidney": blob((56, 42, -8), (26, 21, 50), 4, stream.integer(6, 15)),
        "vertebra": blob((0, 54, 0), (21, 17, 800)),
        "marrow": blob((0, 54, 0), (17, 13, 800)),
        "psoas_right": blob((-25, 62, 0), (12, 14, 800)),
        "psoas_left": blob((25, 62, 0), (12, 14, 800)),
    }
    for side, lean in (("right", 5), ("left", -5)):
        x, y, z = organs[f"{side}_kidney"].centre
        towards_spine = length(9) if side == "right" else -length(9)
        organs[f"{side}_sinus"] = _Blob((x + towards_spine, y, z), (length(9), length(7), length(24)), lean)
    bowel = tuple(
        blob((stream.integer(-40, 70), stream.integer(-62, 0), stream.integer(-50, 0)), (17, 14, 17), 3)
        for _ in range(7)
    )
    waves = tuple(
        (axis, stream.integer(30, 62), *(stream.integer(-190, 191) for _ in range(3)), stream.integer(0, DIRECTIONS))
        for axis in (0, 1, 2, 0, 1, 2)
    )
    liver = organs["liver"]
    vessels = tuple(_draw_vessel(stream, organs["vena_cava"], liver) for _ in range(7))
    healthy = Anatomy(waves, body, organs, bowel, vessels, ())
    found = tuple(_draw_lesion(stream, healthy) for _ in range(lesions))
    return Anatomy(waves, body, organs, bowel, vessels, found)


def _draw_vessel(stream: RawStream, root: _Blob, liver: _Blob) -> _Tube:
    """Return a branch from near the vena cava into the liver."""
    start = root.centre[0], root.centre[1], stream.integer(-20 * 16, 50 * 16)
    x, y, z = (liver.centre[axis] + (liver.half_axes[axis] * stream.integer(-200, 201) >> 8) for axis in range(3))
    return _Tube(start, (x, y, z), stream.integer(36, 66))


def _draw_lesion(stream: RawStream, healthy: Anatomy) -> _Blob:
    """Return an ellipsoid of 10 to 18 mm in each half axis, its centre at least 8 mm deep in the liver."""
    liver = healthy.organs["liver"]
    while True:
        x, y = (liver.centre[axis] + (liver.half_axes[axis] * stream.integer(-190, 191) >> 8) for axis in (0, 1))
        z = stream.integer(-_LESION_REACH_MM * 16, _LESION_REACH_MM * 16 + 1)
        half_x, half_y, half_z = stream.integers(10 * 16, 18 * 16 + 1, 3).tolist()
        place = np.array([x, y, z], dtype=np.int64)
        around = place[:, np.newaxis] + 8 * 16 * _TO_NEIGHBOURS
        if np.isin(healthy.tissue(around), (Tissue.LIVER, Tissue.LIVER_VESSEL)).all():
            # The shape is displaced with the organs, so its centre is where the displacement brings this place.
            moved_x, moved_y, moved_z = (place + healthy._displacement(place[:, np.newaxis])[:, 0]).tolist()
            return _Blob((moved_x, moved_y, moved_z), (half_x, half_y, half_z))
