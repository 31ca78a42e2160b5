"""Which errors a command says in one line, and with which status it ends."""

from __future__ import annotations

import errno
import itertools
import subprocess
import sys

import pytest

from pipeline import __version__
from pipeline.errors import LabelError, OutputError
from pipeline.exit_status import say_in_one_line, user_error


def chained(*errors: BaseException) -> BaseException:
    """The first error, caused by the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def test_an_error_of_ours_is_found_under_those_of_monai() -> None:
    ours = LabelError("label is too small")
    assert user_error(chained(RuntimeError("instantiate"), RuntimeError("evaluate"), ours)) is ours


def test_an_error_of_ours_is_found_where_another_was_raised_while_handling_it() -> None:
    ours = LabelError("label is too small")
    with pytest.raises(RuntimeError) as caught:  # noqa: PT012 - the chain is what is tested
        try:
            raise ours
        except LabelError:
            raise RuntimeError("evaluate")  # noqa: B904
    assert user_error(caught.value) is ours


def test_a_circle_of_causes_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert user_error(first) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
def test_a_disk_that_takes_nothing_is_an_error_the_user_can_mend(number: int) -> None:
    found = user_error(RuntimeError("evaluate", chained(OSError(number, "full"))).args[1])
    assert isinstance(found, OutputError)
    assert str(found) == "cannot use the results: full; check the free space and the permissions, or write elsewhere"


@pytest.mark.parametrize("error", [KeyError("bug"), OSError(errno.ENOENT, "gone"), SystemExit(3)])
def test_other_errors_are_not_spoken_for(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert user_error(error) is None
    assert say_in_one_line(error) is None
    assert capsys.readouterr().err == ""


def test_the_line_begins_with_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert say_in_one_line(LabelError("label is too small"), program="unet-pipeline: ") == 2
    assert capsys.readouterr().err == "unet-pipeline: error: label is too small\n"


def test_ctrl_c_while_an_error_is_handled_is_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert say_in_one_line(chained(KeyboardInterrupt(), LabelError("label is too small"))) == 130
    assert capsys.readouterr().err == "interrupted; what was complete is kept\n"


def test_the_command_line_answers_without_importing_torch() -> None:
    program = "import sys, pipeline.cli; assert 'torch' not in sys.modules; pipeline.cli.main(['--version'])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == f"{__version__}\n"
