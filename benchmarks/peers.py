"""cxrfast beside other loaders, the study's way and a bare loop: two views at 224 from a warm page cache, two workers.

    python benchmarks/peers.py ../shared/data/kermany_orig [--python PEERS_VENV/bin/python] [--sides 256 320 512]
                               [--rounds 5] [--images 4000] [--record]

ORIGINALS are Kermany's at full size. Copies of them under other names make at least `--images`, so every loader sees
as many distinct files, keys and shards as images; they are packed at each side as JPEG, and the same JPEGs are given to
the peers in their own formats, and as single files. At each side all take turns, a round (an epoch) each, after a round
that does not count; each is a process of its own (`peer_loaders.py` says how each is set), which does nothing while
others run. The study's way from files of full size is `study, originals`; its round may have fewer images
(`--original-images`), since it takes minutes. What is not installed (`benchmarks/requirements.txt`) or fails is named.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import Figures, arguments, finish, ratio, spread
from packing_workers import copied

from cxrfast import ShardSet

LOADERS = Path(__file__).resolve().with_name("peer_loaders.py")
PEERS = ("webdataset", "streaming", "litdata")


class Peer:
    """A loader in a process of its own."""

    def __init__(self, python: str, loader: str, settings: dict[str, Any]) -> None:
        ours, theirs = os.pipe()
        command = [python, "-W", "ignore", str(LOADERS), loader, json.dumps(settings), str(theirs)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[theirs], text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": settings["scratch"], "NO_ALBUMENTATIONS_UPDATE": "1"},
        )  # fmt: skip
        os.close(theirs)
        self._answers = os.fdopen(ours)
        self.why_not = self._answer().get("missing")

    def round(self) -> float | None:
        """Return the images a second of a round; None once the process has failed."""
        if self.why_not or self._process.stdin is None:
            return None
        try:
            self._process.stdin.write("round\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.why_not = "its process ended; its error stands on stderr"
            return None
        answer = self._answer()
        if "missing" in answer:
            self.why_not = answer["missing"]
            return None
        return float(answer["images"] / answer["seconds"])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        return dict(json.loads(line)) if line else {"missing": "its process ended; its error stands on stderr"}


def prepared(links: Path, folder: Path, side: int) -> tuple[Path, Path]:
    """Pack the linked originals at a side; return the set's folder, and one of the same JPEGs as single files."""
    from cxrfast import sources
    from cxrfast.packing.recipe import Recipe
    from cxrfast.packing.run import pack

    out, files = folder / f"shards{side}", folder / f"files{side}"
    files.mkdir()
    release = sources.find("kermany").scan(links)
    pack(release, links, out, recipe=Recipe("kermany", long_side=side, samples_per_shard=256))
    for sample in ShardSet.open(out).webdataset(decode=False):
        (files / f"{sample['__key__']}.jpg").write_bytes(sample["jpg"])
    return out, files


def contestants(options: Any, links: Path, folder: Path, side: int) -> dict[str, Peer]:  # noqa: ANN401
    """Start every loader at a side."""
    shards, files = prepared(links, folder, side)
    images = len(ShardSet.open(shards))
    chosen = {
        "study, originals": ("study", {"files": str(options.originals), "images": options.original_images}),
        f"study, files of {side}": ("study", {"files": str(files), "images": images}),
        **{name: (name, {"shards": str(shards)}) for name in (*PEERS, "cxrfast", "bare")},
    }
    peers = {}
    for name, (loader, settings) in chosen.items():
        scratch = folder / f"scratch{side}-{loader}"
        scratch.mkdir(exist_ok=True)
        peers[name] = Peer(options.python, loader, {**settings, "scratch": str(scratch)})
    return peers


def measured(peers: dict[str, Peer], *, rounds: int) -> Figures:
    """Run the rounds in turn; return rates, and cxrfast's ratios to all others."""
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(rounds + 1):
        for name, peer in peers.items():
            found = peer.round()
            if found is not None and number:
                rates[name].append(found)
    whole = {name: of for name, of in rates.items() if len(of) == rounds}
    figures: Figures = {f"{name}, images/s": spread(of) for name, of in whole.items()}
    if "cxrfast" in whole:
        figures |= {f"cxrfast / {name}": ratio(whole["cxrfast"], of) for name, of in whole.items() if name != "cxrfast"}
        there = [name for name in PEERS if name in whole]
        if there:
            best = [max(of) for of in zip(*(whole[name] for name in there), strict=True)]
            figures["cxrfast / best of these peers"] = ratio(whole["cxrfast"], best)
    left_out = {name: peer.why_not for name, peer in peers.items() if name not in whole}
    return {**figures, **({"left out": left_out} if left_out else {})}


def versions(python: str) -> dict[str, str]:
    """Return the versions of the peers' packages where they run."""
    names = ("webdataset", "mosaicml-streaming", "litdata", "albumentations", "albucore", "torch", "torchvision",
             "pillow", "opencv-python-headless")  # fmt: skip
    code = (
        "import importlib.metadata as m, json\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        f"print(json.dumps({{n: have.get(n, 'absent') for n in {names!r}}}))"
    )
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure at each side, and print or record the figures."""
    parser = arguments(__doc__)
    parser.add_argument("originals", type=Path, help="a folder of originals in Kermany's layout")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the peers as well")
    parser.add_argument("--sides", nargs="+", type=int, default=[256, 320, 512], help="long sides in pixels")
    parser.add_argument("--images", type=int, default=4000, help="least images of a round")
    parser.add_argument("--original-images", type=int, default=4000, help="images of a round of `study, originals`")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to pack to")
    options = parser.parse_args()
    options.originals = options.originals.resolve()
    count = sum(1 for _ in options.originals.glob("*/*/*.jpeg"))
    if not count:
        sys.exit(f"{options.originals} holds no originals in Kermany's layout (SPLIT/LABEL/NAME.jpeg)")
    figures: Figures = {"versions": versions(options.python)}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        copied(options.originals, folder / "links", -(-options.images // count))
        for side in options.sides:
            peers: dict[str, Peer] = {}
            try:
                peers = contestants(options, folder / "links", folder, side)
                figures[f"{side} pixels"] = measured(peers, rounds=options.rounds)
            finally:
                for peer in peers.values():
                    peer.close()
    figures["images"] = -(-options.images // count) * count
    finish("peers", figures, record=options.record)


if __name__ == "__main__":
    main()
