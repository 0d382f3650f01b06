"""The data sets of the papers, read from their published files one sample at a time."""
