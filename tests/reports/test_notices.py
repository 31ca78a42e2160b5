"""What a reader must know before any figure: said where it is so, once for all runs, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.report import BundleChoice, write_report
from pipeline.reports.model_card import ModelCard
from pipeline.reports.notices import notices
from pipeline.reports.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
EM, CT = (ROOT / "bundles" / name for name in ("em_membrane_segmentation", "phantom_ct_segmentation"))
VALIDATION = "The evaluation is on the validation cases"


def said_of(folder: Path, bundle: Path | None = None) -> list[str]:
    card = None if bundle is None else ModelCard.read(bundle)
    return [text for text, _ in notices([(RunFolder.read(folder), card)])]


def test_of_a_plain_evaluated_run_it_is_said_what_chose_its_checkpoint_alone(runs: Any) -> None:
    (said,) = said_of(runs.first)
    assert said.startswith(VALIDATION)


def test_a_manifest_that_was_changed_since_does_not_hide_that_cases_chose_the_checkpoint(
    changed: Callable[..., Path], runs: Any
) -> None:
    data = {"name": "small", "version": "2.0.0", "sha256": "abcdef0123456789"}
    changed_since, validation = said_of(changed("evaluation", {"manifest": data}))
    assert "(2.0.0, abcdef01…)" in changed_since
    assert validation.startswith(VALIDATION)


def test_other_data_are_named(changed: Callable[..., Path]) -> None:
    data = {"name": "other", "version": "2.0.0", "sha256": "abcdef0123456789"}
    (said,) = said_of(changed("evaluation", {"manifest": data}))
    assert "The evaluation is on other data, other 2.0.0, than the training, small" in said


def test_what_holds_for_several_runs_is_said_once(runs: Any, changed: Callable[..., Path]) -> None:
    folders = [runs.first, runs.second, changed("run", {"status": "failed"})]
    found = notices([(RunFolder.read(folder, letter), None) for folder, letter in zip(folders, "ABC", strict=True)])
    by_start = {text[:24]: [run.letter for run in some] for text, some in found}
    assert by_start == {VALIDATION[:24]: ["A", "B", "C"], "The training was failed ": ["C"]}


def test_cases_that_were_skipped_for_one_reason_share_it(changed: Callable[..., Path]) -> None:
    reasons = {"v7": "no prediction", "v8": "holds NaN", "v9": "no prediction"}
    skipped = [{"case": case, "reason": reason} for case, reason in reasons.items()]
    said = said_of(changed("evaluation", {"skipped": skipped}))
    assert "skipped 3 cases: v7, v9 (no prediction); v8 (holds NaN)." in said[0]


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (None, "are those of the bundle EM membrane segmentation"),
        ({"name": "EM membrane segmentation", "version": "0.0.1"}, "the run is of version 0.0.1"),
    ],
    ids=["not-recorded", "other-version"],
)
def test_whose_model_card_is_shown_is_said_where_it_is_not_sure(
    changed: Callable[..., Path], recorded: dict[str, str] | None, said: str
) -> None:
    folder = changed("run", {"bundle": recorded})
    (about_card,) = [text for text in said_of(folder, EM) if text.startswith("Model card")]
    assert said in about_card


def test_the_bundle_of_the_record_needs_no_words(changed: Callable[..., Path]) -> None:
    card = ModelCard.read(EM)
    folder = changed("run", {"bundle": {"name": card.name, "version": card.version}})
    assert all(text.startswith(VALIDATION) for text in said_of(folder, EM))


def test_the_bundle_of_an_evaluation_counts_where_no_training_is_recorded(
    changed: Callable[..., Path], tmp_path: Path
) -> None:
    folder = changed("evaluation", {"bundle": {"name": "Phantom CT segmentation", "version": "0.0.1"}})
    (folder / "log" / "run.json").unlink()
    assert any("the run is of version 0.0.1" in text for text in said_of(folder, CT))
    with pytest.raises(ConfigError, match="'Phantom CT segmentation', and 'EM"):
        write_report(tmp_path / "report.html", [folder], BundleChoice([EM], tiles=0))


def test_bundles_go_to_the_runs_in_their_order(changed: Callable[..., Path], tmp_path: Path) -> None:
    cards = [ModelCard.read(bundle) for bundle in (EM, CT)]
    folders = [
        changed("run", {"bundle": {"name": card.name, "version": card.version}}, name=f"run{number}")
        for number, card in enumerate(cards)
    ]
    write_report(tmp_path / "report.html", folders, BundleChoice([EM, CT], tiles=0))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    use = page[page.index('id="use"') : page.index("</header>")]
    marks = {card.name: use.rindex("run-", 0, use.index(f"({card.name} ")) for card in cards}
    assert [use[place : place + 5] for place in marks.values()] == ["run-A", "run-B"]
    with pytest.raises(ConfigError, match="run0 is of the bundle 'EM"):
        write_report(tmp_path / "report.html", folders, BundleChoice([CT, EM], tiles=0), overwrite=True)


def test_the_card_of_another_bundle_is_refused(changed: Callable[..., Path], tmp_path: Path) -> None:
    """A report must not show the intended use of another model."""
    card = ModelCard.read(EM)
    folder = changed("run", {"bundle": {"name": card.name, "version": card.version}})
    with pytest.raises(ConfigError, match=r"'EM membrane segmentation', and 'Phantom CT.*pass the bundle of each run"):
        write_report(tmp_path / "report.html", [folder], BundleChoice([CT], tiles=0))
    assert not (tmp_path / "report.html").exists()
    write_report(tmp_path / "report.html", [folder], BundleChoice([EM], tiles=0))
