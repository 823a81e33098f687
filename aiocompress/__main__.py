"""``python -m aiocompress``, and the program ``aiocompress``."""

import signal


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the loop has its own handler, an interrupt kills, also during the imports: Python
        # would print a traceback, and click would exit with code 1.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from aiocompress.cli.commands import main as run

    run()


if __name__ == "__main__":
    main()
