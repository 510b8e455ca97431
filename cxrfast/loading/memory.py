"""Amounts of memory in a loader's settings: the amounts of `cxrfast.amounts`, refused as the loader refuses."""

from cxrfast.amounts import parse_bytes
from cxrfast.errors import LoaderError


def parse_memory(amount: str | int, *, name: str) -> int:
    """Return bytes of an amount such as "64MB", "1.5GiB" or 65536.

    `name` is the option's name for the error. Raises LoaderError where the amount is not one, or not positive.
    """
    return parse_bytes(amount, name=name, error=LoaderError)
