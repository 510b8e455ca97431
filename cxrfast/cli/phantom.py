"""`cxrfast-shard phantom`: synthetic releases to try everything on."""

import shlex
from pathlib import Path

import click


@click.command(short_help="Draw synthetic releases to try everything on.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--datasets",
    default="chexpert",
    show_default=True,
    help="The data sets to imitate, with commas between; all for every one that can be.",
)
@click.option(
    "--images", type=click.IntRange(1), default=500, show_default=True, help="How many images each of them gets."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed draws the same images.")
def phantom(out: Path, datasets: str, images: int, seed: int) -> None:
    """Draw synthetic releases below OUT in their native layouts, to try everything on without a download."""
    from cxrfast import phantom
    from cxrfast.cli.progress import Counting

    asked = [name.strip() for name in datasets.split(",") if name.strip()]
    names = sorted(phantom.WRITERS) if asked == ["all"] else asked
    done, total = 0, images * len(names)
    with Counting("drawing") as progress:

        def count(more: int) -> None:
            nonlocal done
            done += more
            progress(done, total)

        folders = phantom.write(out, datasets=names, images=images, seed=seed, progress=count)
    for name, folder in folders.items():
        click.echo(f"{folder}: a synthetic {name} of {images:,} images")
        click.echo(f"Next: cxrfast-shard doctor {name} {shlex.quote(str(out))}")
