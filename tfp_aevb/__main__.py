"""`python -m tfp_aevb VERB --flags`."""

import sys

from tfp_aevb.commands.main import run

if __name__ == "__main__":
    sys.exit(run())
