"""How images are stored: the few settings on which the bytes of a shard set depend, and nothing else.

Worker counts, budgets and progress are not here, so that they may change between a run and its resumption.
"""

from dataclasses import asdict, dataclass
from hashlib import sha256

from cxrfast.errors import PackError
from cxrfast.shardset.format import EXTENSIONS, KEY, canonical_json

MAX_JPEG_SIDE = 65_500  # by libjpeg
STRETCHES = ("none", "minmax")


@dataclass(frozen=True)
class Recipe:
    """What is done to each image of `dataset`, checked when made (PackError).

    `long_side`: pixels of a stored image's longer side at most; smaller ones are not enlarged. 0 keeps the full size,
    and the original bytes of what is 8-bit gray JPEG or PNG already. `codec`: `jpeg`, `png` or `raw` (.npy).
    `quality`: of JPEG, 1 to 100. `stretch`: `minmax` maps each image's darkest and brightest pixel to 0 and 255 before
    it is shrunk. `samples_per_shard`: planned images a tar. `seed`: of their order over the shards. `max_pixels`: a
    file that claims more is rejected as too large.
    """

    dataset: str
    long_side: int = 320
    codec: str = "jpeg"
    quality: int = 95
    stretch: str = "none"
    samples_per_shard: int = 1024
    seed: int = 0
    max_pixels: int = 40_000_000

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.dataset):
            raise PackError(
                f"data set name {self.dataset!r}: letters, digits, _ and - are allowed, it names the shards"
            )
        if self.codec not in EXTENSIONS:
            raise PackError(f"codec {self.codec!r} is unknown; choose among {', '.join(EXTENSIONS)}")
        if self.stretch not in STRETCHES:
            raise PackError(f"stretch {self.stretch!r} is unknown; choose among {', '.join(STRETCHES)}")
        _check_range("long_side", self.long_side, 0, MAX_JPEG_SIDE)
        _check_range("quality", self.quality, 1, 100)
        _check_range("samples_per_shard", self.samples_per_shard, 1, 1_000_000)
        _check_range("max_pixels", self.max_pixels, 1, 2**40)

    @property
    def extension(self) -> str:
        """Return the file extension of an image that is encoded; copied ones have that of their own form."""
        return EXTENSIONS[self.codec]

    @property
    def copies(self) -> bool:
        """Tell whether the bytes of an image that is 8-bit gray already are stored as they are."""
        return self.long_side == 0 and self.stretch == "none" and self.codec != "raw"

    def settings(self) -> dict[str, int | str]:
        """Return the fields as a plain dict, for JSON."""
        return asdict(self)

    def hash(self) -> str:
        """Return SHA-256 of the settings' canonical JSON."""
        return sha256(canonical_json(self.settings())).hexdigest()


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise PackError(f"{name} is {value}; it must be from {low} to {high:,}")
