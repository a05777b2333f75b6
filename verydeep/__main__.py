"""`python -m verydeep` is the `verydeep` command."""

from verydeep.cli import main

if __name__ == "__main__":
    main()
