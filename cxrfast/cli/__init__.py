"""Command lines: click, and nothing else. Heavy packages are imported inside the commands, so `--help` is instant."""
