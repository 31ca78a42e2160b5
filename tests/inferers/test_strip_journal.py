"""What a journal keeps when its process is gone."""

from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.inferers.strip_journal import StripJournal


def test_a_journal_remembers_run_and_strips(tmp_path: Path) -> None:
    journal = StripJournal(tmp_path / "journal")
    assert journal.description is None
    assert not journal.path.exists()
    journal.begin({"tile_px": [572, 188]})
    journal.add(0, 0xCAFE)
    journal.add(7, 2**32 - 1)
    again = StripJournal(tmp_path / "journal")
    assert again.description == {"tile_px": [572, 188]}
    assert again.finished == {0: 0xCAFE, 7: 2**32 - 1}
    again.remove()
    assert not journal.path.exists()


@pytest.mark.parametrize("cut", range(1, 37))
def test_a_journal_cut_anywhere_loses_no_whole_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    journal = StripJournal(path)
    journal.begin({"run": "a"})
    for strip in (3, 14, 159):
        journal.add(strip, strip)
    whole = path.read_bytes()
    assert len(whole) == 13 + 11 + 12 + 13
    path.write_bytes(whole[:-cut])
    kept = whole[:-cut].count(b"\n")
    again = StripJournal(path)
    assert again.description == {"run": "a"}
    assert again.finished == {strip: strip for strip in (3, 14, 159)[: kept - 1]}
    again.add(26, 1)
    assert StripJournal(path).finished == again.finished


@pytest.mark.parametrize("text", [b"first line\nsecond line\n", b"no end of line", b'{"run": "a"', bytes(300)], ids=str)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(text)
    with pytest.raises(OutputError, match=r"notes\.txt is not the journal of a run"):
        StripJournal(path)
    assert path.read_bytes() == text


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"cannot write .*/no folder/journal: folder .*/no folder does not exist; create"
    ):
        StripJournal(tmp_path / "no folder" / "journal").begin({})
