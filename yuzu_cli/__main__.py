"""`python -m yuzu_cli` is `yuzu`."""

from yuzu_cli.cli import main

if __name__ == "__main__":
    main()
