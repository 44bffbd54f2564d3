"""A full disk is found behind an error, and nothing else is."""

from __future__ import annotations

import errno

import pytest

from unlearnkit.disk.files import check_space
from unlearnkit.errors import OutputError


def raised(*, cause: bool, number: int = errno.ENOSPC) -> Exception:
    try:
        try:
            raise OSError(number, "strange")
        except OSError as error:
            if cause:
                raise OutputError("Expected to write the bank /b.") from error
            raise OutputError("Expected to write the bank /b.") from None
    except OutputError as error:
        return error


def test_a_full_disk_is_raised_with_the_words_of_the_error() -> None:
    with pytest.raises(OSError, match=r"No space left on device \(Expected to write the bank /b\)") as found:
        check_space(raised(cause=True))
    assert found.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        check_space(OSError(errno.ENOSPC, "full"))


def test_other_errors_are_left_alone() -> None:
    check_space(raised(cause=False))  # it says that what came before has nothing to do with it
    check_space(raised(cause=True, number=errno.EACCES))
    check_space(ValueError("no disk"))
