"""One small program for each peer: JSON settings in, one line of JSON out (see `common`)."""
