"""Numbers with their nouns, for messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun in the singular or plural.

    Args:
        number: How many.
        noun: One of them.
        plural: Several of them, where that is not `noun` with an s.

    Examples:
        >>> counted(1, "mask"), counted(0, "mask"), counted(2, "entry", "entries")
        ('1 mask', '0 masks', '2 entries')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
