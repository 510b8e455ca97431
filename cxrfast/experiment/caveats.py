"""What the checks of a split cannot see, said in the report instead of passed over.

Copies of a test image are known by what is stored, which is exact for the same file packed alike, and silent where sets
were packed unlike or a picture came in another file format. Test images of a set are known by its release split, which
some releases lack.
"""

from collections.abc import Sequence
from typing import Any

from cxrfast.shardset.shardset import ShardSet

_OF_PIXELS = ("long_side", "codec", "quality", "stretch")  # of a recipe: what stored bytes depend on beside the image


def caveats(opened: Sequence[ShardSet], trained: Sequence[ShardSet]) -> tuple[str, ...]:
    """Return a sentence for each thing that could not be checked, none where all could.

    `opened`: the sets from which parts were taken; `trained`: the parts that anything is trained or validated on.
    """
    recipes = {name: recipe for part in opened for name, recipe in zip(part.names, part.recipes, strict=True)}
    return (*_packed_unlike(recipes), *_encoded_anew(opened), *_without_split(trained))


def _packed_unlike(recipes: dict[str, dict[str, Any]]) -> list[str]:
    unlike = [key for key in _OF_PIXELS if len({str(recipe.get(key)) for recipe in recipes.values()}) > 1]
    if not unlike:
        return []
    told = ", ".join(
        f"{name} with {' '.join(f'{key} {recipe.get(key)}' for key in unlike)}" for name, recipe in recipes.items()
    )
    return [f"Copies of a test image in another set could not all be told, since the sets were packed unlike: {told}."]


def _encoded_anew(opened: Sequence[ShardSet]) -> list[str]:
    """One picture in two file formats is stored in equal pixels only where neither was changed on its way."""
    if len({name for part in opened for name in part.names}) < 2:
        return []
    lossy = [
        str(recipe.get("dataset"))
        for part in opened
        for recipe in part.recipes
        if recipe.get("long_side") != 0 or recipe.get("codec") == "jpeg"
    ]
    if not lossy:
        return []
    return [
        "Copies of a test image in another file format could not all be told: a large JPEG is decoded at a reduced "
        f"size, and what is encoded as JPEG again changes ({', '.join(dict.fromkeys(lossy))})."
    ]


def _without_split(trained: Sequence[ShardSet]) -> list[str]:
    keys: dict[str, set[str]] = {}
    for part in trained:
        table = part.table[part.table["release_split"].isna()]
        for dataset, group in table.groupby("dataset"):
            keys.setdefault(str(dataset), set()).update(group["key"])
    if not keys:
        return []
    told = ", ".join(f"{len(found):,} of {dataset}" for dataset, found in sorted(keys.items()))
    return [
        "Images without a known release split serve classifier or pretext, their set's test images perhaps among "
        f"them: {told}."
    ]
