"""Numbers with their nouns, and verbs that agree with them, for messages."""

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


def agreed(number: int, one: str, several: str) -> str:
    """Return the word that goes with one thing, or with several or none.

    Examples:
        >>> f"a.dcm {agreed(1, 'is', 'are')} empty"
        'a.dcm is empty'
    """
    return one if number == 1 else several
