"""The compiled event engine; import it only where numba may be absent or is wanted."""

from __future__ import annotations

from comptroller.serving.jit import stand_in
from comptroller.serving.kernel.draws import wrapping_draw
from comptroller.serving.policies.draw import draw

stand_in(draw, wrapping_draw)  # here, so that no policy is compiled before
