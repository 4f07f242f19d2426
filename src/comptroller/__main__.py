"""`python -m comptroller` is the command line."""

from comptroller.cli import main

main()
