"""Why a prediction came out as it did: Grad-CAM and occlusion maps on the image's own pixels."""

from .explanation import Explanation
from .maps import explain, explain_each

__all__ = ["Explanation", "explain", "explain_each"]
