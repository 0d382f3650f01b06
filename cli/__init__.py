"""The command line: thin, and imported by nothing."""
