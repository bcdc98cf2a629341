import pytest

pytest.importorskip("astro_deepgalaxy_tinynet", reason="the plugin is not installed")


def test_is_found_by_name():
    from astro_deepgalaxy.plugins import provider

    assert provider("backbone", "tinynet")["name"] == "astro-deepgalaxy-tinynet/tinynet"


@pytest.mark.parametrize("width", [4, 8])
def test_is_a_backbone(width):
    from astro_deepgalaxy.testing import check_backbone

    check_backbone("tinynet", input_shape=(32, 48, 2), width=width)
