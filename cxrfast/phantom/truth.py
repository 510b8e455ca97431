"""Which findings the images of a release have: exact shares, not a coin an image.

A coin would leave a release of a hundred images without some class for one seed in ten; here each class goes to the
images with the highest scores, exactly its share of them, so a small release has some of every class whatever the seed.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxrfast.phantom.dice import Dice

Leaning = Mapping[str, Mapping[str, float]]


def draw_findings(
    dice: Sequence[Dice],
    shares: Mapping[str, float],
    *,
    leaning: Leaning | None = None,
    healthy: float = 0.0,
    apart: Collection[str] = (),
) -> list[frozenset[str]]:
    """Return the findings of each of n studies, names among `shares`, which says what share of studies has each.

    `leaning`: for a name what others, earlier in `shares`, add to its score. `healthy`: the share that has nothing,
    but for names in `apart`, which hang on no finding.
    """
    has = {name: np.zeros(len(dice), dtype=np.bool_) for name in shares}
    nothing = top([d.uniform("healthy") for d in dice], healthy)
    for name, share in shares.items():
        score = np.array([d.uniform(f"has {name}") for d in dice])
        for other, weight in (leaning or {}).get(name, {}).items():
            score += weight * has[other]
        if name not in apart:
            score += 0.5 * ~np.any(list(has.values()), axis=0)  # who is not among the healthy has something
            score[nothing] = -1
        has[name] = top(score, share) & (score >= 0)
    return [frozenset(name for name in shares if has[name][study]) for study in range(len(dice))]


def top(score: Sequence[float] | npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Return which of n scores are the highest, `share` of them: bool (n,)."""
    chosen = np.zeros(len(score), dtype=np.bool_)
    chosen[np.argsort(-np.asarray(score), kind="stable")[: round(share * len(score))]] = True
    return chosen
