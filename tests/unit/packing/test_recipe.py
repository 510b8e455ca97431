import pytest

from cxrfast.errors import PackError
from cxrfast.packing.recipe import Recipe


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codec": "webp"}, "codec 'webp'.*jpeg, png, raw"),
        ({"long_side": -1}, "long_side is -1"),
        ({"stretch": "clahe"}, "stretch 'clahe'.*none, minmax"),
        ({"quality": 101}, "quality is 101"),
        ({"samples_per_shard": 0}, "samples_per_shard is 0"),
        ({"dataset": "a.b"}, "letters, digits"),
        ({"dataset": ""}, "letters, digits"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes, words):
    """A recipe is checked when it is made, before anything is read."""
    with pytest.raises(PackError, match=words):
        Recipe(**{"dataset": "tiny", **changes})


def test_hash_tells_every_setting_apart():
    """No two different recipes share a hash, and equal ones do."""
    recipes = [
        Recipe("tiny"), Recipe("tiny2"), Recipe("tiny", long_side=321), Recipe("tiny", codec="png"),
        Recipe("tiny", quality=94), Recipe("tiny", samples_per_shard=2), Recipe("tiny", seed=1),
        Recipe("tiny", max_pixels=10), Recipe("tiny", long_side=0), Recipe("tiny", stretch="minmax"),
    ]  # fmt: skip
    assert len({recipe.hash() for recipe in recipes}) == len(recipes)
    assert Recipe("tiny").hash() == Recipe("tiny").hash()
