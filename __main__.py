"""`python -m fusegraph` is the command `fusegraph`."""

from .cli.main import main

if __name__ == "__main__":
    main()
