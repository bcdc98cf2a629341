"""Who runs a trained network."""
