"""Synthetic releases of the data sets in their native layouts: what the demo trains on and the tests are fed.

Made, not copied: no licence, no patient, no download, and labels that are true because the findings were drawn from
them. Every data set is one module with a `write_release` of its own; all draw through `radiograph.draw`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from cxrfast.errors import SourceError
from cxrfast.phantom import chestxray14, chexpert, gb7flg, kermany, tbx11k, vinbigdata

WRITERS: dict[str, Callable[..., Path]] = {
    "chestxray14": chestxray14.write_release,
    "chexpert": chexpert.write_release,
    "gb7flg": gb7flg.write_release,
    "kermany": kermany.write_release,
    "tbx11k": tbx11k.write_release,
    "vinbigdata": vinbigdata.write_release,
}


def write(
    out: Path | str,
    *,
    datasets: Sequence[str] = ("chexpert",),
    images: int = 500,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Path]:
    """Write a synthetic release of each data set below `out`, `images` images each; return each one's folder.

    `seed`: the same one gives the same bytes, whatever the number of `workers` (threads; None: CPUs that this process
    may use). `progress`: called with how many more images are done. SourceError for an unknown name, before anything is
    written, and where `out` holds another release.
    """
    unknown = [name for name in datasets if name not in WRITERS]
    if unknown:
        raise SourceError(
            f"there is no phantom of {', '.join(map(repr, unknown))}; known: {', '.join(sorted(WRITERS))}"
        )
    return {
        name: WRITERS[name](Path(out), images=images, seed=seed, workers=workers, progress=progress)
        for name in dict.fromkeys(datasets)
    }
