"""How DeepGalaxy scaled (Cai, Bedorf, Saletore et al. 2020, arXiv:2010.11630, Fig. 7).

EfficientNetB4 on images of 1024 pixels with a batch of 8 for each worker, four workers a node, on
CPUs; efficiency is against four workers.
"""

__all__ = ["BATCH", "EFFICIENCY", "PIXELS", "REFERENCE"]

PIXELS, BATCH = 1024, 8
REFERENCE = 4
EFFICIENCY = {4: 1.0, 128: 0.93, 512: 0.73}
