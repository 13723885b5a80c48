"""`python -m setsail` is the command."""

from setsail.cli import main

if __name__ == "__main__":
    main()
