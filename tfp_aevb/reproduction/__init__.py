"""The paper's experiments: which runs each figure needs, and what is plotted from them."""
