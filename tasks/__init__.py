"""Tasks: which space, which data, which searcher; feature folders and their extraction."""
