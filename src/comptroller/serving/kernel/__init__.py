"""The kernel of the event engine: compiled by numba, or the same functions as plain Python where numba is absent."""

from __future__ import annotations

from comptroller.serving.jit import stand_in
from comptroller.serving.kernel.draws import wrapping_draw
from comptroller.serving.policies.draw import draw

stand_in(draw, wrapping_draw)  # here, so that no policy is compiled before
