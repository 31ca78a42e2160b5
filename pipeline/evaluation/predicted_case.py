"""Truth and prediction of one case, read from files onto one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..data import Case, Manifest
from ..data.case_files import is_raster
from ..errors import ImageError, LabelError, ManifestError, MissingFileError
from ..metrics.score_inputs import checked_probability
from ..transforms.instances import interior_instances
from .placed_file import (
    PlacedFile,
    class_indices,
    read_image_file,
    read_mask_file,
    read_probability_file,
)
from .prediction_files import CaseFiles, Role
from .scored_case import CaseArrays
from .settings import ScoreKind

Values = Literal["auto", "labels", "indices"]
Objects = Literal["components", "numbers"]

# What `predict` writes for the object class of a network that knows but one.
_WHITE: Final = 255
# Half precision and two decimals leave as much of a sum of 1.
_SUM_ROUNDING: Final = 0.01


@dataclass(frozen=True)
class CaseReader:
    """Reads the cases of a data set and their predictions.

    Attributes:
        manifest: The data set.
        data: Where its files are.
        kind: What is scored.
        role: The kind of prediction that is scored: for classes `"mask"` stands for labels as well.
        values: What masks hold: `"labels"` the values of the manifest's labels, `"indices"` class indices (or 255 for
            class 1 of two), `"auto"` decides by the name of the file, as the help of
            `unet-pipeline evaluate` says.
        objects: What the objects of a label are when instances are scored: the 4-connected components of class 1, or
            its numbers.
    """

    manifest: Manifest
    data: Path
    kind: ScoreKind
    role: Role
    values: Values = "auto"
    objects: Objects = "components"

    def read(self, case: Case, files: CaseFiles) -> CaseArrays:
        """Read a case.

        Raises:
            PipelineError: One of its kinds, if a file is not there, damaged, on another grid or holds what it may not;
                the case is named.
        """
        try:
            image = read_image_file(self.data / case.image, case.image_files)
            truth, spacing_mm = self._truth(case, image)
            probability = self._probability(files, image, truth.shape)
            return CaseArrays(
                truth,
                None if self.role == "probability" else self._prediction(files, image),
                probability,
                spacing_mm,
                image.voxels,
            )
        except (ImageError, LabelError, ManifestError, MissingFileError) as error:
            raise type(error)(f"case {case.id!r}: {error}") from error

    def _truth(self, case: Case, image: PlacedFile) -> tuple[NDArray[Any], tuple[float, ...] | None]:
        if case.label is None:
            raise ManifestError("it has no label in the manifest; add it, or take the case out of the split")
        by_value = {label_class.stored_value: label_class for label_class in self.manifest.classes}
        label = read_mask_file(self.data / case.label, image, by_value)
        spacing_mm = label.spacing_mm(self.manifest.spacing_mm, self.manifest.slice_spacing_mm)
        if self.kind == "instances" and self.objects == "numbers":
            return label.voxels, spacing_mm
        try:
            classes = class_indices(label.voxels, self.manifest.class_values, f"label {label.path}")
        except LabelError as error:
            if self.kind != "instances":
                raise
            raise LabelError(f"{error}; where labels hold a number for each object, pass --objects numbers") from error
        return (classes if self.kind != "instances" else _components(classes, label.path)), spacing_mm

    def _prediction(self, files: CaseFiles, image: PlacedFile) -> NDArray[Any]:
        if self.role == "instances" and files.instances is not None:
            return read_mask_file(files.instances, image).voxels
        path = files.classes
        if path is None:
            raise MissingFileError("it has no mask among the predictions; predict it, too")
        as_labels = self.values == "labels" or (self.values == "auto" and path == files.labels)
        if as_labels:
            values = self.manifest.class_values
        else:
            values = {label_class.index: label_class.index for label_class in self.manifest.classes}
            if len(values) == 2:
                values[_WHITE] = 1
        by_value = {
            label_class.stored_value if as_labels else label_class.index: label_class
            for label_class in self.manifest.classes
        }
        mask = read_mask_file(path, image, by_value)
        if self.kind == "instances" and as_labels and self.objects == "numbers":
            return mask.voxels
        try:
            classes = class_indices(mask.voxels, values, f"prediction {path}")
        except LabelError as error:
            other = "class indices" if as_labels else "the values of labels"
            way_out = f"where masks hold {other}, pass --values {'indices' if as_labels else 'labels'}"
            raise LabelError(f"{error}; {way_out}") from error
        return classes if self.kind != "instances" else _components(classes, path)

    def _probability(
        self, files: CaseFiles, image: PlacedFile, shape: tuple[int, ...]
    ) -> NDArray[np.floating[Any]] | None:
        """Return the probability of every class in [0, 1]; None where there are no files of it."""
        if not files.probability or self.kind == "instances":
            return None
        first = next(iter(files.probability.values()))
        if is_raster(first):
            if len(files.probability) > 1:
                raise LabelError(f"it has {len(files.probability)} files of probabilities; expected one of all classes")
            found = _checked(first, read_probability_file(first))
            _check_sum(first, found)
        else:
            indices = [label_class.index for label_class in self.manifest.classes if label_class.index > 0]
            if sorted(files.probability) != sorted(indices):
                raise LabelError(
                    f"it has probabilities of the classes {sorted(files.probability)}; expected {sorted(indices)}, "
                    "each in a file of its own"
                )
            objects = np.stack(
                [_checked(path, read_mask_file(path, image).voxels) for _, path in sorted(files.probability.items())]
            )
            highest = float(objects.sum(axis=0, dtype=np.float64).max())
            if highest > 1 + _SUM_ROUNDING:
                raise ImageError(
                    f"its probabilities of the object classes sum to up to {highest:.4g}; expected at most 1, of which "
                    "background has the rest; write the probabilities of classes that exclude each other"
                )
            # Only object classes are written; background is what they leave, but for rounding.
            background = (1 - objects.sum(axis=0, dtype=np.float64)).clip(0, 1).astype(objects.dtype)
            found = np.concatenate([background[np.newaxis], objects])
        if found.shape[1:] != shape:
            raise LabelError(
                f"probability {first} is {found.shape[1:]} but the label {shape}; expected one grid; predict the image "
                "of this case"
            )
        return found


def _components(classes: NDArray[np.uint16], path: Path) -> NDArray[np.int32]:
    if classes.ndim != 2:
        raise LabelError(f"{path} is a volume of classes; give a number to each object and pass --objects numbers")
    return interior_instances(classes > 0)


def _checked(path: Path, probability: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return probabilities from a file as they are.

    Raises:
        ImageError: If one is outside [0, 1] or not a number; the file is named.
    """
    try:
        return checked_probability(probability)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _check_sum(path: Path, probability: NDArray[np.floating[Any]]) -> None:
    """Refuse probabilities of all classes that do not sum to 1; those of one class alone say what they leave.

    Raises:
        ImageError: If they do not; the file is named.
    """
    if len(probability) == 1:
        return
    sums = probability.sum(axis=0, dtype=np.float64)
    lowest, highest = float(sums.min()), float(sums.max())
    if lowest < 1 - _SUM_ROUNDING or highest > 1 + _SUM_ROUNDING:
        raise ImageError(
            f"{path}: the probabilities of the classes sum to {lowest:.4g} to {highest:.4g}; expected 1; write the "
            "probabilities of classes that exclude each other"
        )
