"""The kernel of the event engine: compiled by numba, or the same functions as plain Python where numba is absent."""
