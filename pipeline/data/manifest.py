"""Data manifests: what a data set is, where its files come from, and which cases make up each split.

A manifest is a JSON file `data_manifests/<data set>.json`; `manifest.schema.json` beside it says what may stand there.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import jsonschema

from ..errors import ManifestError, MissingFileError
from .manifest_schema import MANIFEST_SCHEMA

_VALIDATOR: Final = jsonschema.Draft202012Validator(MANIFEST_SCHEMA)
_LONGEST_VALUE: Final = 80  # characters of a bad value that a message shows


@dataclass(frozen=True)
class Licence:
    """Under what terms the data may be used; at least one of `url` and `terms` is there."""

    name: str
    url: str | None = None
    terms: str | None = None


@dataclass(frozen=True)
class LabelClass:
    """One class: its index in tensors, its name, and the value that stands for it in label files."""

    index: int
    name: str
    stored_value: int


@dataclass(frozen=True)
class GeneratedSource:
    """Data that a function of this package makes; `prepare_data_set` knows the generators by name."""

    generator: str
    seed: int


@dataclass(frozen=True)
class PublishedSource:
    """Data that the user gets from elsewhere: the addresses, and how the folder must look afterwards."""

    urls: tuple[str, ...]
    layout: str


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        id: Name of the case, unique in the data set.
        patient: Whom or what the image shows: a patient, an animal, a specimen. A pseudonym, never a name.
        block: Part of a stack that must stay in one split, where splits go by block.
        image: Path of the image relative to the data folder, with '/' between its parts.
        label: Path of the label, likewise.
        image_sha256: SHA-256 of the image file in hexadecimal digits, or None where it is not known.
        label_sha256: SHA-256 of the label file, likewise.
    """

    id: str
    patient: str
    image: str
    label: str
    image_sha256: str | None
    label_sha256: str | None
    block: str | None = None

    def files(self) -> tuple[tuple[str, str, str | None], ...]:
        """Return the files of the case: what each is, its relative path, and its SHA-256 or None."""
        return (("image", self.image, self.image_sha256), ("label", self.label, self.label_sha256))


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

    @classmethod
    def load(cls, path: str | Path) -> Manifest:
        """Read and check a manifest.

        Args:
            path: The JSON file.

        Raises:
            MissingFileError: If there is no such file.
            ManifestError: If it is not JSON, breaks the schema, names a case twice or not at all, or lets a patient
                (or a block, where splits go by block) cross a split.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            msg = f"manifest {path} not found; the project's own are in data_manifests/"
            raise MissingFileError(msg) from error
        except OSError as error:
            msg = f"manifest {path} cannot be read: {error.strerror}; give the path of a JSON file that you may read"
            raise ManifestError(msg) from error
        fields = _parsed(content, path)
        _check_schema(fields, path)
        manifest = cls(
            name=fields["name"],
            version=fields["version"],
            description=fields["description"],
            licence=Licence(**fields["licence"]),
            citation=fields["citation"],
            source=_source(fields["source"]),
            classes=tuple(_class(label_class) for label_class in fields["classes"]),
            spacing_mm=_spacing_mm(fields["spacing_mm"]),
            slice_spacing_mm=fields["slice_spacing_mm"],
            split_unit=fields["split_unit"],
            split_unit_reason=fields.get("split_unit_reason"),
            cases=tuple(Case(**case) for case in fields["cases"]),
            splits={split: tuple(ids) for split, ids in fields["splits"].items()},
            path=path,
            digest=hashlib.sha256(content).hexdigest(),
        )
        _check_classes(manifest)
        _check_cases(manifest)
        _check_splits(manifest)
        return manifest

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
            msg = f"data set {self.name!r} has no split {split!r}; {hint}its splits are {list(self.splits)}"
            raise ManifestError(msg)
        by_id = {case.id: case for case in self.cases}
        return tuple(by_id[case_id] for case_id in self.splits[split])

    def records(self, folder: str | Path, split: str) -> list[dict[str, str]]:
        """Return the cases of a split as MONAI takes them: `{"image": path, "label": path, "case": id}` each.

        Args:
            folder: Where the files are. They are not looked for: `check_files` does that.
            split: Name of the split.

        Raises:
            ManifestError: If there is no such split.
        """
        return [
            {"image": str(Path(folder) / case.image), "label": str(Path(folder) / case.label), "case": case.id}
            for case in self.cases_of(split)
        ]

    def missing_files(self, folder: str | Path, split: str | None = None) -> list[Path]:
        """Return the files that are not in the folder, of one split or, by default, of all cases."""
        wanted = self.cases if split is None else self.cases_of(split)
        paths = [Path(folder) / path for case in wanted for _, path, _ in case.files()]
        return [path for path in paths if not path.is_file()]

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
                if expected is None or not path.is_file():
                    continue
                try:
                    with path.open("rb") as file:
                        found = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as error:
                    msg = f"case {case.id!r}: {kind} {path} cannot be read: {error.strerror}; make it readable"
                    raise ManifestError(msg) from error
                if found != expected:
                    msg = (
                        f"case {case.id!r}: {kind} {path} has SHA-256 {found}, but {self.path} expects {expected}; "
                        f"move the file away and {self._way_to_get_files(Path(folder))}"
                    )
                    raise ManifestError(msg)

    def _missing_message(self, folder: Path, missing: list[Path]) -> str:
        """Return the message for files that are not there: the first by name, the others by number."""
        others = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        owner = next(case for case in self.cases if missing[0] in (folder / case.image, folder / case.label))
        kind = "image" if missing[0] == folder / owner.image else "label"
        return (
            f"case {owner.id!r} of data set {self.name!r}: {kind} {missing[0]}{others} not found; "
            f"{self._way_to_get_files(folder)}"
        )

    def _way_to_get_files(self, folder: Path) -> str:
        """Return what a user can do to get the files into the folder."""
        if isinstance(self.source, GeneratedSource):
            return f"have the files generated: pipeline.data.prepare_data_set(manifest, {str(folder)!r})"
        return f"get the data from {' or '.join(self.source.urls)} and put them in {folder}: {self.source.layout}"


def _parsed(content: bytes, path: Path) -> Any:
    """Return what JSON text holds, refusing what JSON leaves open: a key given twice, and NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            _refuse(path, f"key {twice[0]!r} is given twice in one object; keep one")
        return dict(pairs)

    def no_constant(name: str) -> NoReturn:
        _refuse(path, f"{name} is not a JSON number; write a number, or null where it is not known")

    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        _refuse(path, f"the file must be UTF-8 text, but byte {error.start} is not; save it as UTF-8", error)
    except json.JSONDecodeError as error:
        _refuse(path, f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}; correct it there", error)


def _refuse(path: Path, problem: str, cause: Exception | None = None) -> NoReturn:
    """Raise a `ManifestError` about a manifest file."""
    msg = f"manifest {path}: {problem}"
    raise ManifestError(msg) from cause


def _check_schema(fields: Any, path: Path) -> None:
    """Check a manifest against the schema, and report the first place, in the order of the file, that breaks it."""
    errors = sorted(_VALIDATOR.iter_errors(fields), key=_place_in_file)
    if not errors:
        return
    error = errors[0]
    place = "/".join(str(step) for step in error.absolute_path) or "the top level"
    description = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    match error.validator:
        case "required":
            wanted = [key for key in error.validator_value if key not in error.instance]
            problem = f"{place} lacks {', '.join(map(repr, wanted))}; add what is missing (see docs/manifest.md)"
        case "additionalProperties":
            known = list(error.schema["properties"])
            unknown = next(key for key in error.instance if key not in known)
            close = difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the keys there are {known}"
            problem = f"{place} has an unknown key {unknown!r}; {hint}"
        case "anyOf":
            problem = f"{place} lacks both 'url' and 'terms'; add one of them (see docs/manifest.md)"
        case _:
            value = json.dumps(error.instance, ensure_ascii=False)
            shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
            problem = f"{place} is {shown}; expected {description}"
    _refuse(path, problem)


def _place_in_file(error: jsonschema.ValidationError) -> list[str]:
    """Return what sorts errors by place, with the items of a list in their order."""
    return [f"{step:09d}" if isinstance(step, int) else step for step in error.absolute_path]


def _class(fields: dict[str, Any]) -> LabelClass:
    # JSON Schema takes 1.0 for an integer.
    return LabelClass(index=int(fields["index"]), name=fields["name"], stored_value=int(fields["stored_value"]))


def _spacing_mm(fields: Sequence[float] | None) -> tuple[float, float] | None:
    return None if fields is None else (float(fields[0]), float(fields[1]))


def _source(fields: dict[str, Any]) -> GeneratedSource | PublishedSource:
    if "generator" in fields:
        return GeneratedSource(generator=fields["generator"], seed=int(fields["seed"]))
    return PublishedSource(urls=tuple(fields["urls"]), layout=fields["layout"])


def _first_repeated(values: Iterable[Any]) -> Any:
    """Return the first value that occurs twice, or None."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _check_classes(manifest: Manifest) -> None:
    """Check that classes are numbered 0, 1, ... and that neither a name nor a stored value stands for two."""
    indices = [label_class.index for label_class in manifest.classes]
    if indices != list(range(len(indices))):
        _refuse(manifest.path, f"classes have the indices {indices}; expected {list(range(len(indices)))} in order")
    for key in ("name", "stored_value"):
        repeated = _first_repeated(getattr(label_class, key) for label_class in manifest.classes)
        if repeated is not None:
            _refuse(manifest.path, f"two classes have the {key} {repeated!r}; give each class its own")


def _check_cases(manifest: Manifest) -> None:
    """Check that neither an id nor a file belongs to two cases."""
    repeated = _first_repeated(case.id for case in manifest.cases)
    if repeated is not None:
        _refuse(manifest.path, f"two cases have the id {repeated!r}; give each case its own")
    repeated = _first_repeated(path for case in manifest.cases for _, path, _ in case.files())
    if repeated is not None:
        _refuse(manifest.path, f"file {repeated!r} is named twice; an image and a label belong to one case each")


def _check_splits(manifest: Manifest) -> None:
    """Check that splits name known cases, share none, and that no patient (or block) is in two of them."""
    by_id = {case.id: case for case in manifest.cases}
    split_of_case: dict[str, str] = {}
    split_of_group: dict[str, str] = {}
    unit = manifest.split_unit
    for split, ids in manifest.splits.items():
        for case_id in ids:
            if case_id not in by_id:
                _refuse(manifest.path, f"split {split!r} names case {case_id!r}, which is not among the cases")
            other = split_of_case.setdefault(case_id, split)
            if other != split:
                _refuse(manifest.path, f"case {case_id!r} is in the splits {other!r} and {split!r}; keep it in one")
            group = str(getattr(by_id[case_id], unit))
            other = split_of_group.setdefault(group, split)
            if other != split:
                _refuse(
                    manifest.path,
                    f"{unit} {group!r} is in the splits {other!r} and {split!r}; keep all its "
                    "cases in one split, or split by another unit (see docs/manifest.md)",
                )
