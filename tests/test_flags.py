import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy.flags import FLAGS, CutoutError, Flag, decode_flags


def test_bits_and_names_are_unique():
    assert len({d.bit for d in FLAGS}) == len({d.name for d in FLAGS}) == len(FLAGS)


@given(st.sets(st.sampled_from(FLAGS)))
def test_decoding_gives_back_the_names(definitions):
    mask = sum(1 << d.bit for d in definitions)
    assert set(filter(None, decode_flags(mask).split(";"))) == {d.name for d in definitions}


def test_flags_combine():
    assert decode_flags(Flag.NO_WCS | Flag.PICTURE) == "no_wcs;picture"


def test_error_carries_its_flag():
    with pytest.raises(CutoutError, match="broken") as caught:
        raise CutoutError("broken", Flag.NO_DATA)
    assert caught.value.flag == Flag.NO_DATA
