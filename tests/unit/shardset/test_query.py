"""Selections: what they keep, and what they refuse."""

from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrfast.errors import QueryError
from cxrfast.shardset.query import mask

TABLE = pd.DataFrame(
    {
        "projection": pd.Series(["frontal", "lateral", None, "frontal"], dtype="str"),
        "age": pd.Series([10, 65, np.nan, 90], dtype=np.float32),
        "sex": pd.Categorical(["F", "M", None, "F"]),
        "sized": pd.Series([1, 2, 3, 4], dtype=np.int32),
        "kept": [True, False, True, False],
        "label.Edema": pd.Series([1, 0, -1, np.nan], dtype=np.float32),
        "label.Pleural Effusion": pd.Series([0, 1, 1, np.nan], dtype=np.float32),
        "votes.Nodule/Mass": pd.Series([0, 3, 1, 2], dtype=np.float32),
        "it's `odd`": [1, 2, 3, 4],
    }
)

KEEPS = {
    "label.Edema == 1": "1000",
    "label.Edema == -1": "0010",
    "label.Edema == +1": "1000",
    "`label.Pleural Effusion` == 1": "0110",
    "`votes.Nodule/Mass` >= 2": "0101",
    "projection == 'frontal'": "1001",
    'projection == "frontal"': "1001",
    "'frontal' == projection": "1001",
    "projection == 'a `tick` # in a text'": "0000",
    "projection != 'frontal'": "0100",
    "projection in ('frontal', 'lateral')": "1101",
    "projection in ['lateral', None]": "0110",
    "projection not in ('frontal',)": "0100",
    "projection not in ('frontal', None)": "0100",
    "projection in ()": "0000",
    "projection == None": "0010",
    "projection is None": "0010",
    "None != projection": "1101",
    "age is not None": "1101",
    "sex == 'F'": "1001",
    "sex in ('M',)": "0100",
    "60 < age <= 90": "0101",
    "1 < sized < 4 < age": "0100",
    "not (age > 60)": "1010",
    "age <= 60": "1000",
    "age > 60 and projection == 'frontal'": "0001",
    "age > 60 or label.Edema == 1": "1101",
    "age > 60 or label.Edema == 1 and sized == 2": "0101",
    "kept": "1010",
    "not kept": "0101",
    "kept == True": "1010",
    "True": "1111",
    "sized == label.Edema": "1000",
    "projection == 'frontal'\n  and age > 60\n": "0001",
    "sized == 2.0": "0100",
}

REFUSED = [
    "", "   ", "age >", "age = 3", "age == 3; kept", "import os", "@age == 3", "lambda: 1", "(lambda: True)()",
    "age.max() == 3", "max(age) == 3", "__import__('os').system('true') == 0", "age[0] == 3", "age.__class__ == 3",
    "age + 1 == 3", "-age == 3", "~kept", "(age > 60) & kept", "age > 60 | kept", "f'{age}' == 'a'", "[x for x in age]",
    "age == (1, 2)", "age in 3", "age in sized", "3 in age", "kept if kept else kept", "(x := 3) == age", "age == b'a'",
    "age == 3j", "age == ...", "*age", "1 == 1", "'a' == 'b'", "None == None", "age < None", "age is 3", "1", "'text'",
    "projection == 1", "age == '65'", "age in ('65',)", "projection < 3", "age", "projection", "label",
    "age == 3 # or so", "`age == 3", "sized == 99999999999999999999999999", "not " * 5000 + "kept", "(" * 300 + "kept",
    "age ==\0 3", "sized << 2 == 3", "age in {1: 2}", "await age", "yield",
]  # fmt: skip


@pytest.mark.parametrize("expression", KEEPS)
def test_an_expression_keeps_the_rows_that_it_says(expression):
    """Comparisons with a missing value are false, `!=` and `not in` too; None asks for missing values."""
    assert "".join(str(int(kept)) for kept in mask(expression, TABLE)) == KEEPS[expression]


@pytest.mark.parametrize("expression", REFUSED)
def test_anything_but_comparing_is_refused(expression):
    """What is not a comparison of columns and literals ends in a QueryError, whatever else it is."""
    with pytest.raises(QueryError):
        mask(expression, TABLE)


@pytest.mark.parametrize(
    ("expression", "nearest"),
    [
        ("label.Edma == 1", "label.Edema"),
        ("edema == 1", "label.Edema"),
        ("`Pleural Effusion` == 1", "label.Pleural Effusion"),
        ("Projection == 'frontal'", "projection"),
        ("projection == frontal", "quotes"),
    ],
)
def test_an_unknown_column_names_the_nearest(expression, nearest):
    """A slip of the pen is answered with what was probably meant."""
    with pytest.raises(QueryError, match=nearest):
        mask(expression, TABLE)


def test_a_refused_expression_has_no_effect():
    """Nothing of an expression is ever run, not even on the way to its refusal."""
    ran = []
    table = pd.DataFrame({"a": [1]})
    table.attrs["ran"] = ran
    with pytest.raises(QueryError):
        mask("a.attrs['ran'].append(1) == None", table)
    assert not ran


@given(st.text(max_size=60))
def test_any_text_gives_a_mask_or_a_query_error(text):
    """No text brings another error out, nor a mask of another length."""
    try:
        kept = mask(text, TABLE)
    except QueryError:
        return
    assert kept.shape == (4,)
    assert kept.dtype == np.bool_


@given(
    st.lists(st.sampled_from(["age", "60", "(", ")", "==", "<", "in", "not", "and", "or", "None", "'F'", "sex", ","]))
)
def test_any_run_of_words_gives_a_mask_or_a_query_error(words):
    """The same for texts that are nearly expressions."""
    with suppress(QueryError):
        assert mask(" ".join(words), TABLE).shape == (4,)


def test_an_empty_table_gives_an_empty_mask():
    """A selection of a selection that kept nothing is nothing."""
    assert mask("age > 3 and projection == 'frontal'", TABLE.iloc[:0]).shape == (0,)
