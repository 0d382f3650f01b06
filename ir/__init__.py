"""What a fusion architecture is: typed graphs, their decisions, and the language that says them."""
