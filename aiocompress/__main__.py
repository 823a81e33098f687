"""``python -m aiocompress``, and the program ``aiocompress``."""

import gc
import signal


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the loop has its own handler, an interrupt kills, also during the imports: Python
        # would print a traceback, and click would exit with code 1.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()  # what is imported stays, and searching it for garbage takes 5 % of a small file
    from aiocompress.cli.commands import main as run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
