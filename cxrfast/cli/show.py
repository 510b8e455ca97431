"""`cxrfast-shard show`: pictures of what a packed set holds."""

from pathlib import Path

import click

_VIEWS = ("plain", "paper", "simclr")


@click.command(short_help="Draw a packed set's images, views and labels.")
@click.argument("shardset")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sheet.png"),
    show_default=True,
    help="The PNG of the images; those of views and labels get its name with -views, -labels and -labels-rare.",
)
@click.option("--images", type=click.IntRange(1), default=24, show_default=True, help="How many images are shown.")
@click.option("--seed", type=int, default=0, show_default=True, help="The seed by which images and views are drawn.")
@click.option(
    "--view",
    "views",
    multiple=True,
    type=click.Choice(_VIEWS),
    help="A view to show, all of them where none is given. May be given many times.",
)
def show(shardset: str, out: Path, images: int, seed: int, views: tuple[str, ...]) -> None:
    """Draw sheets of the packed set SHARDSET, a folder or a URL: stored images, what views do to them, its labels.

    The paths of the sheets are printed, a line each.
    """
    if out.suffix.lower() != ".png":
        raise click.BadParameter(f"{out} is not the name of a PNG; end it with .png", param_hint="--out")
    from cxrfast.shardset.shardset import ShardSet

    shards = ShardSet.open(shardset)
    from cxrfast.experiment.show import show as draw  # it loads torch

    for path in draw(shards, out, images=images, seed=seed, views=views or _VIEWS):
        click.echo(path)
