"""The language of .fuse files: parsing, elaboration, printing and formatting."""
