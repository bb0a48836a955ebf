"""Plain tools: seeds, graph functions, files, progress lines."""
