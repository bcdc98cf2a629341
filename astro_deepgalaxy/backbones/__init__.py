"""Feature extractors: the encoder E of the network."""
