"""One network body with shared weights: encoder, heads and, later, decoder and VAE."""

from .galaxy_network import GalaxyNetwork, NetworkConfig

__all__ = ["GalaxyNetwork", "NetworkConfig"]
