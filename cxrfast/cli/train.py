"""`cxrfast-train`: a whole experiment from one file; the same command again resumes or prints what was found."""

from pathlib import Path

import click

from cxrfast.cli.terms import run as run_command

_EPILOG = """\b
Packaged experiments: me1.yaml, kermany.yaml, demo.yaml

\b
Examples:
  cxrfast-train --config me1.yaml --shards /data/shards
  cxrfast-train --config me1.yaml -o weights=resnet18.pth -o classifier.fit.epochs=5
"""


@click.command(epilog=_EPILOG)
@click.version_option(package_name="cxrfast")
@click.option("--config", required=True, metavar="NAME", help="An experiment file, or the name of a packaged one.")
@click.option(
    "--shards",
    default="shards",
    show_default=True,
    metavar="PATH|URL",
    help="The folder that holds the packed shard sets, or its URL (https://, s3://).",
)
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    help="The run folder; runs/NAME of the experiment where none is given. A folder that was begun is resumed.",
)
@click.option(
    "-o",
    "--override",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Lay a value over the file's, such as -o classifier.fit.epochs=3. May be given many times.",
)
def train(config: str, shards: str, folder: Path | None, overrides: tuple[str, ...]) -> None:
    """Run an experiment: train the baseline, pretrain, fine-tune, evaluate. The last line is the report's path."""
    from cxrfast.experiment.files import load
    from cxrfast.experiment.run import run

    experiment = load(config, overrides)
    report = run(experiment, shards=shards, folder=folder or Path("runs") / experiment.name)
    click.echo(report)


def main() -> None:
    """Enter from the command line."""
    run_command(train)


if __name__ == "__main__":
    main()
