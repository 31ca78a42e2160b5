"""Data manifests: what a data set is, where its files come from, and which cases make up each split.

A manifest is a JSON file `data_manifests/<data set>.json`; `manifest.schema.json` beside it says what may stand there.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..counted import counted
from ..errors import ManifestError, MissingFileError
from .digests import content_sha256
from .manifest_entries import (
    Case,
    Deidentification,
    Folds,
    GeneratedSource,
    LabelClass,
    Licence,
    PublishedSource,
)
from .manifest_fields import case_of, class_of, deidentification_of, folds_of, source_of, spacing_of
from .manifest_reading import check_schema, manifest_bytes, read_manifest_fields
from .manifest_rules import rule_breaches


@dataclass(frozen=True)
class Manifest:
    """A data set: licence, source, classes, cases and splits. Made by `Manifest.load`, which checks them.

    Attributes:
        name: Name of the data set.
        version: Version of the manifest, such as 1.0.0.
        description: What the data are, in a few sentences.
        licence: Under what terms they may be used.
        citation: What to cite.
        source: Where the files come from.
        classes: The classes in the order of their indices; index 0 is background.
        spacing_mm: Spacing of pixels (row, column) in mm, or None where it is not known.
        slice_spacing_mm: Spacing of slices in mm, or None where there is none or it is not known.
        split_unit: What never crosses a split: the patient, or the block of a stack that shows one specimen.
        split_unit_reason: Why splits do not go by patient; None where they do.
        cases: All cases.
        splits: Ids of the cases of each split, by the split's name.
        path: The file that this was read from.
        digest: SHA-256 of that file, in hexadecimal digits.
        folds: Cross-validation over one of the splits, or None; `fold` makes training and validation of it.
        deidentification: Whether the data name people; None where that is not stated.
        modality: How the images were made, as DICOM writes it (CT, MR, SM), or None.
    """

    name: str
    version: str
    description: str
    licence: Licence
    citation: str
    source: GeneratedSource | PublishedSource
    classes: tuple[LabelClass, ...]
    spacing_mm: tuple[float, float] | None
    slice_spacing_mm: float | None
    split_unit: Literal["patient", "block"]
    split_unit_reason: str | None
    cases: tuple[Case, ...]
    splits: Mapping[str, tuple[str, ...]]
    path: Path
    digest: str
    folds: Folds | None = None
    deidentification: Deidentification | None = None
    modality: str | None = None

    @classmethod
    def load(cls, path: str | Path, fold: int | None = None) -> Manifest:
        """Read and check a manifest.

        Args:
            path: The JSON file.
            fold: The fold whose splits `training` and `validation` are wanted, counted from 0; None where the manifest
                has these splits itself.

        Raises:
            MissingFileError: If there is no such file.
            ManifestError: If it is not JSON, breaks the schema, names a case twice or not at all, or lets a patient
                (or a block, where splits go by block) cross a split.
        """
        manifest = cls.read(path)
        manifest.check_rules()
        return manifest if fold is None else manifest.fold(fold)

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Read a manifest that keeps to the schema, without the checks that `breaches` makes.

        Raises:
            MissingFileError: If there is no such file.
            ManifestError: If it is not JSON or breaks the schema.
        """
        fields, content = read_manifest_fields(Path(path))
        return cls._from_fields(fields, content, Path(path))

    @classmethod
    def from_fields(cls, fields: dict[str, Any], path: str | Path) -> Manifest:
        """Check the fields of a manifest, and return it with the digest of what `manifest_bytes` makes of them.

        Args:
            fields: What is to stand in the JSON file.
            path: The file that they are for; messages name it.

        Raises:
            ManifestError: If the fields break the schema or a rule.
        """
        check_schema(fields, Path(path))
        manifest = cls._from_fields(fields, manifest_bytes(fields), Path(path))
        manifest.check_rules()
        return manifest

    @classmethod
    def _from_fields(cls, fields: dict[str, Any], content: bytes, path: Path) -> Manifest:
        return cls(
            name=fields["name"],
            version=fields["version"],
            description=fields["description"],
            licence=Licence(**fields["licence"]),
            citation=fields["citation"],
            source=source_of(fields["source"]),
            classes=tuple(class_of(label_class) for label_class in fields["classes"]),
            spacing_mm=spacing_of(fields["spacing_mm"]),
            slice_spacing_mm=fields["slice_spacing_mm"],
            split_unit=fields["split_unit"],
            split_unit_reason=fields.get("split_unit_reason"),
            cases=tuple(case_of(case) for case in fields["cases"]),
            splits={split: tuple(ids) for split, ids in fields["splits"].items()},
            path=path,
            digest=hashlib.sha256(content).hexdigest(),
            folds=folds_of(fields.get("folds")),
            deidentification=deidentification_of(fields.get("deidentification")),
            modality=fields.get("modality"),
        )

    def breaches(self) -> Iterator[str]:
        """Yield what breaks the rules beyond the schema, one sentence each, as `rule_breaches` finds it."""
        return rule_breaches(self.classes, self.cases, self.splits, self.folds, self.split_unit)

    def check_rules(self) -> None:
        """Refuse the manifest for the first of its `breaches`.

        Raises:
            ManifestError: If there is one.
        """
        for breach in self.breaches():
            msg = f"manifest {self.path}: {breach}"
            raise ManifestError(msg)

    def fold(self, number: int) -> Manifest:
        """Return the manifest with the splits of one fold: `validation` is its part, `training` the other parts.

        Splits that the folds do not divide, such as `test`, stay. The digest is still that of the file.

        Args:
            number: The fold, counted from 0.

        Raises:
            ManifestError: If the manifest has no folds, or not this one.
        """
        if self.folds is None:
            msg = f"manifest {self.path} has no folds; make some with `unet-pipeline data split`, or leave the fold out"
            raise ManifestError(msg)
        parts = self.folds.parts
        if not 0 <= number < len(parts):
            msg = f"manifest {self.path} has no fold {number}; its folds are 0 to {len(parts) - 1}"
            raise ManifestError(msg)
        validation = set(parts[number])
        splits = {
            "training": tuple(case for case in self.splits[self.folds.split] if case not in validation),
            "validation": parts[number],
            **{split: ids for split, ids in self.splits.items() if split != self.folds.split},
        }
        return replace(self, splits=splits, folds=None)

    @property
    def class_values(self) -> dict[int, int]:
        """Return the class index of each value that label files store: what `ClassIndicesd` takes."""
        return {label_class.stored_value: label_class.index for label_class in self.classes}

    def cases_of(self, split: str) -> tuple[Case, ...]:
        """Return the cases of a split, in the order the split names them.

        Raises:
            ManifestError: If there is no such split.
        """
        if split not in self.splits:
            close = difflib.get_close_matches(split, self.splits, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            if self.folds is not None and split in ("training", "validation"):
                hint = (
                    f"choose one of its {counted(len(self.folds.parts), 'fold')} (manifest::fold=0, in Python fold=0); "
                )
            msg = f"data set {self.name!r} has no split {split!r}; {hint}its splits are {list(self.splits)}"
            raise ManifestError(msg)
        by_id = {case.id: case for case in self.cases}
        return tuple(by_id[case_id] for case_id in self.splits[split])

    def records(self, folder: str | Path, split: str) -> list[dict[str, Any]]:
        """Return the cases of a split as MONAI takes them: `{"image": path, "label": path, "case": id}` each.

        An image that is some of the files of a folder is the list of their paths.

        Args:
            folder: Where the files are. They are not looked for: `check_files` does that.
            split: Name of the split.

        Raises:
            ManifestError: If there is no such split, or a case in it has no label.
        """
        records = []
        for case in self.cases_of(split):
            if case.label is None:
                msg = (
                    f"case {case.id!r} of the split {split!r} of data set {self.name!r} has no label; training and "
                    "evaluation need one: add it to the manifest, or take the case out of the split"
                )
                raise ManifestError(msg)
            image = Path(folder) / case.image
            paths: str | list[str] = [str(image / name) for name in case.image_files] or str(image)
            records.append({"image": paths, "label": str(Path(folder) / case.label), "case": case.id})
        return records

    def missing_files(self, folder: str | Path, split: str | None = None) -> list[Path]:
        """Return the files that are not in the folder, of one split or, by default, of all cases."""
        wanted = self.cases if split is None else self.cases_of(split)
        return [path for case in wanted for path in case.missing_files(Path(folder))]

    def check_files(self, folder: str | Path, split: str | None = None, digests: bool = True) -> None:
        """Check that the files are there and are the ones the manifest means.

        Args:
            folder: Where the files are.
            split: The split to check; all cases by default.
            digests: Whether to read every file and compare its SHA-256, where the manifest knows it.

        Raises:
            MissingFileError: If a file is not there.
            ManifestError: If a file differs from the manifest, or there is no such split.
        """
        missing = self.missing_files(folder, split)
        if missing:
            raise MissingFileError(self._missing_message(Path(folder), missing))
        if digests:
            self.check_digests(folder, split)

    def check_digests(self, folder: str | Path, split: str | None = None) -> None:
        """Check those files that are there against their SHA-256, where the manifest knows it.

        Args:
            folder: Where the files are.
            split: The split to check; all cases by default.

        Raises:
            ManifestError: If a file differs from the manifest, or there is no such split.
        """
        for case in self.cases if split is None else self.cases_of(split):
            for kind, relative, expected in case.files():
                path = Path(folder) / relative
                if expected is None or not path.exists():
                    continue
                try:
                    found = content_sha256(path, case.image_files if kind == "image" else ())
                except OSError as error:
                    msg = f"case {case.id!r}: {kind} {path} cannot be read: {error.strerror}; make it readable"
                    raise ManifestError(msg) from error
                if found != expected:
                    msg = (
                        f"case {case.id!r}: {kind} {path} has SHA-256 {found}, but {self.path} expects {expected}; "
                        f"move the file away and {self.way_to_get_files(Path(folder))}"
                    )
                    raise ManifestError(msg)

    def _missing_message(self, folder: Path, missing: list[Path]) -> str:
        """Return the message for files that are not there: the first by name, the others by number."""
        others = f" and {counted(len(missing) - 1, 'more file')}" if len(missing) > 1 else ""
        owner = next(case for case in self.cases if missing[0] in case.missing_files(folder))
        kind = "label" if owner.label is not None and missing[0] == folder / owner.label else "image"
        return (
            f"case {owner.id!r} of data set {self.name!r}: {kind} {missing[0]}{others} not found; "
            f"{self.way_to_get_files(folder)}"
        )

    def way_to_get_files(self, folder: Path) -> str:
        """Return what a user can do to get the files into the folder."""
        if isinstance(self.source, GeneratedSource):
            return f"have the files generated: pipeline.data.prepare_data_set(manifest, {str(folder)!r})"
        if self.source.archives:
            return f"fetch them: unet-pipeline data fetch {self.path} {folder}"
        if not self.source.urls:
            return f"ask the owner of the data for them and put them in {folder}: {self.source.layout}"
        return f"get the data from {' or '.join(self.source.urls)} and put them in {folder}: {self.source.layout}"
