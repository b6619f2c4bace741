"""`python -m lindos` is `lindos`."""

from lindos.cli import main

main()
