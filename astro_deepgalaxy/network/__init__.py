"""One network body with shared weights: encoder, classifier, decoder and latent."""

from .galaxy_network import GalaxyNetwork, NetworkConfig

__all__ = ["GalaxyNetwork", "NetworkConfig"]
