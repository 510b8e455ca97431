"""`cxrfast-shard`: everything between a release on disk and a packed shard set, a command a file.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

import click

from cxrfast.cli import terms
from cxrfast.cli.doctor import doctor
from cxrfast.cli.finish import finish
from cxrfast.cli.pack import pack
from cxrfast.cli.phantom import phantom
from cxrfast.cli.show import show
from cxrfast.cli.verify import verify

_EPILOG = """\b
Examples:
  cxrfast-shard phantom demo/release
  cxrfast-shard doctor chexpert demo/release
  cxrfast-shard pack chexpert demo/release --out demo/shards/chexpert
"""


@click.group(epilog=_EPILOG)
@click.version_option(package_name="cxrfast")
def shard() -> None:
    """Pack chest X-ray data sets, as they are downloaded, into shards that load fast."""


for _command in (doctor, pack, finish, verify, show, phantom):
    shard.add_command(_command)


def main() -> None:
    """Enter from the command line."""
    terms.run(shard)


if __name__ == "__main__":
    main()
