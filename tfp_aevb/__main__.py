"""`python -m tfp_aevb VERB --flags`."""

import sys

from tfp_aevb.commands.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
