"""`python -m unlearnkit` is the `unlearnkit` command."""

from unlearnkit.cli import main

if __name__ == "__main__":
    main()
