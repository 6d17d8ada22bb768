"""`python -m rle` is the command `rle`."""

from __future__ import annotations

from rle.cli.app import main

main()
