import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_releases import release_of

from cxrfast.errors import PackError
from cxrfast.packing.plan import Plan, differences, documents, make_plan
from cxrfast.packing.recipe import Recipe


def table_of(count):
    return release_of([f"p{number}/view{number}.jpg" for number in range(count)]).table


@given(count=st.integers(1, 60), per_shard=st.integers(1, 20), seed=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_image_lies_in_exactly_one_shard(count, per_shard, seed):
    """Shards are cut from one order without gap or overlap; only the last may be shorter."""
    plan = make_plan(table_of(count), Recipe("tiny", samples_per_shard=per_shard, seed=seed))
    rows = [row for shard in range(plan.num_shards) for row in plan.rows_of(shard)]
    assert rows == list(range(count))
    assert all(len(plan.rows_of(shard)) == per_shard for shard in range(plan.num_shards - 1))
    assert set(plan.table["key"]) == set(table_of(count)["key"])


@given(st.permutations(range(30)))
@settings(max_examples=10, deadline=None)
def test_order_does_not_depend_on_the_tables_order(order):
    """The same rows in any order give the same plan document and the same stored order."""
    recipe = Recipe("tiny", samples_per_shard=7)
    one, other = make_plan(table_of(30), recipe), make_plan(table_of(30).iloc[list(order)], recipe)
    pd.testing.assert_frame_equal(one.table, other.table)
    assert one.document() == other.document()


def test_order_is_pinned():
    """The stored order is part of the format: it may change with no version of anything."""
    plan = make_plan(table_of(6), Recipe("tiny", seed=0))
    assert plan.table["key"].tolist() == [
        "tiny-view4",
        "tiny-view5",
        "tiny-view1",
        "tiny-view3",
        "tiny-view0",
        "tiny-view2",
    ]


def test_the_seed_moves_images():
    """Another seed is another order."""
    one, other = (make_plan(table_of(30), Recipe("tiny", seed=seed)) for seed in (0, 1))
    assert one.table["key"].tolist() != other.table["key"].tolist()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("key", "tiny-view.1", "breaks the rule"),
        ("key", "other-view1", "starting with tiny"),
        ("key", "tiny-" + "x" * 90, "breaks the rule"),
        ("key", None, "breaks the rule"),
        ("key", "tiny-view2", "stands for p[12]/view[12].jpg and p[12]/view[12].jpg"),
        ("path", "../outside.jpg", "inside the release"),
        ("path", "/etc/passwd", "inside the release"),
        ("path", None, "inside the release"),
    ],
)
def test_rows_that_cannot_be_packed_are_named(column, value, words):
    """A bad key, a key that stands twice and a path that leaves the release are refused before anything is written."""
    table = table_of(5)
    table.loc[1, column] = value
    with pytest.raises(PackError, match=words):
        make_plan(table, Recipe("tiny"))


def test_an_empty_table_and_a_lacking_column_are_refused():
    """Nothing to pack is a mistake, not an empty set."""
    with pytest.raises(PackError, match="no images"):
        make_plan(table_of(3).iloc[:0], Recipe("tiny"))
    with pytest.raises(PackError, match="lacks the columns study"):
        make_plan(table_of(3).drop(columns="study"), Recipe("tiny"))


def _document(table=None, **recipe):
    return make_plan(table_of(5) if table is None else table, Recipe("tiny", **recipe)).document()


def test_differences_are_said_in_words():
    """Each thing on which bytes depend is named with both its values; equal plans differ in nothing."""
    base = _document()
    assert differences(base, _document()) == []
    assert differences(base, _document(long_side=64)) == ["recipe: long_side is 320 there, 64 here"]
    assert differences(base, _document(seed=9)) == ["recipe: seed is 0 there, 9 here"]
    older = {**base, "packages": {**base["packages"], "opencv": "4.1"}, "architecture": "vax"}
    assert [text.split(" there")[0] for text in differences(older, base)] == [
        "architecture is 'vax'", "package opencv is 4.1",
    ]  # fmt: skip
    assert "5 images there, 4 here" in differences(base, _document(table_of(4)))[0]


def test_other_labels_on_the_same_images_are_another_plan():
    """A label file that was exchanged between two runs is noticed, in any column and also when a value went missing."""
    for column, value in (("label.Edema", 0.5), ("age", np.nan), ("sex", "F"), ("release_split", None)):
        table = table_of(5)
        table.loc[1, column] = value
        assert differences(_document(), _document(table)) == ["the same images have other labels or other records"]


def test_missing_files_are_written_down_but_not_compared():
    """The list belongs to the plan that was made first."""
    plan = make_plan(table_of(5), Recipe("tiny"), missing=["tiny-view3"])
    assert plan.document()["missing"] == ["tiny-view3"]
    assert plan.table["key"].iloc[list(plan.missing)].tolist() == ["tiny-view3"]
    assert differences(plan.document(), _document()) == []


def test_documents_hold_what_was_released():
    """Blank is null, whole numbers have no point, and every column of the record is there but the key."""
    plan = make_plan(table_of(8), Recipe("tiny"))
    found = dict(zip(plan.table["key"], documents(plan.table), strict=True))
    assert found["tiny-view3"] == {
        "path": "p3/view3.jpg", "dataset": "tiny", "patient": "p3", "study": None, "projection": "frontal",
        "view_position": None, "sex": None, "age": 3, "release_split": None,
        "labels": {"Edema": None, "Nodule/Mass": 0},
    }  # fmt: skip
    assert found["tiny-view7"]["age"] is None
    assert found["tiny-view2"]["labels"] == {"Edema": -1, "Nodule/Mass": 0}


def test_votes_stand_beside_labels():
    """A set with votes keeps them; a set without has no such entry."""
    table = table_of(2).assign(**{"votes.Nodule/Mass": [3.0, 0.0]})
    plan: Plan = make_plan(table, Recipe("tiny"))
    assert sorted(document["votes"]["Nodule/Mass"] for document in documents(plan.table)) == [0, 3]
