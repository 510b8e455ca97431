import pytest

from cxrfast.errors import LoaderError
from cxrfast.loading.memory import parse_memory


@pytest.mark.parametrize(
    ("amount", "nbytes"),
    [("64MB", 64_000_000), ("1.5GiB", 3 * 2**29), (" 12 kB ", 12_000), ("7b", 7), (65536, 65536), ("3kib", 3072)],
)
def test_amounts_are_read_as_written(amount, nbytes):
    """Decimal and binary units differ, spaces and case do not matter, whole numbers are bytes."""
    assert parse_memory(amount, name="ahead") == nbytes


@pytest.mark.parametrize("amount", ["", "64", "MB", "-1MB", "64 apples", "1e6MB", 0, -5, "0MB"])
def test_what_is_no_amount_is_refused_by_name(amount):
    """The error names the option."""
    with pytest.raises(LoaderError, match="ahead"):
        parse_memory(amount, name="ahead")
