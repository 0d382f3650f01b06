"""PARSEC: a distribution over networks is learnt from sampled ones, at a price if wanted."""
