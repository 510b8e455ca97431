"""Amounts of bytes as people write them: "256MB" reads better in a config than 256000000."""

import re

from cxrfast.errors import CxrfastError

_UNITS = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
    "TIB": 2**40,
}  # fmt: skip
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def parse_bytes(amount: str | int, *, name: str, error: type[CxrfastError]) -> int:
    """Return bytes of an amount such as "64MB", "1.5GiB" or 65536.

    `name` is the option's name for the message. Raises `error` where the amount is not one, or not positive.
    """
    if isinstance(amount, str):
        match = _PATTERN.fullmatch(amount.strip())
        if match is None or match[2].upper() not in _UNITS:
            raise error(f"{name}={amount!r} is not an amount of memory: write it like '64MB', '1.5GiB' or in bytes")
        amount = int(float(match[1]) * _UNITS[match[2].upper()])
    if amount < 1:
        raise error(f"{name} is {amount} bytes: it must be at least one byte")
    return amount
