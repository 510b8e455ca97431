import pytest

from cxrfast import Reading
from cxrfast.errors import LoaderError


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": 0}, {"ahead": "much"}, {"gap": "0B"}, {"on_error": "ignore"}, {"budget": -1}, {"budget": 1.0},
        {"budget": -0.1}, {"probation": 0},
    ],
)  # fmt: skip
def test_reading_that_does_not_work_is_refused(wrong):
    """The error names the option."""
    with pytest.raises(LoaderError, match=next(iter(wrong))):
        Reading(**wrong)


def test_amounts_are_bytes_in_the_end():
    """As text or as a number of bytes."""
    reading = Reading(ahead="1MB", gap=4096)
    assert (reading.ahead, reading.gap) == (10**6, 4096)
