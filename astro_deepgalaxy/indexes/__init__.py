"""Indexes of vectors: who finds the nearest neighbours."""
