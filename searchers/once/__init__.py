"""One elastic supernet for all networks of a space, and how one of them is selected from it."""
