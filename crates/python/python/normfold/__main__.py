"""The command line: ``python -m normfold opt model.onnx -o folded.onnx``."""

import signal
import sys

from ._native import run_program


def main() -> int:
    """Runs the program with the arguments of this process and gives its exit code."""
    # Python turns SIGINT into an exception once it is back in Python; the program ends by the signal, leaving nothing behind.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_program(["normfold", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
