"""``python -m aiocompress``."""

from aiocompress.cli.commands import main

if __name__ == "__main__":
    main()
