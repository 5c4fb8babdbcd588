"""`python -m alicebob`: the command line."""

from alicebob.cli import main

main()
