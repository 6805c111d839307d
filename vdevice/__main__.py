"""`python -m vdevice` is the `vdevice` command."""

from vdevice.cli import main

main()
