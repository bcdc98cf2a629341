"""Settings that a user may change in astropy's configuration system."""

from astropy.config import ConfigItem, ConfigNamespace

__all__ = ["Conf", "conf"]


class Conf(ConfigNamespace):
    """Settings of astro_deepgalaxy."""

    max_image_pixels = ConfigItem(
        2**27,
        "Largest FITS image that is read, in pixels of all bands; a gzip or bzip2 file may unpack "
        "to four bytes for each of them.",
        cfgtype="integer(min=1)",
    )
    max_picture_pixels = ConfigItem(
        100_000_000,
        "Largest picture that is decoded, in pixels.",
        cfgtype="integer(min=1)",
    )


conf = Conf()
