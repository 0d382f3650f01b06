"""The search algorithms, their protocol, and the store of trials."""
