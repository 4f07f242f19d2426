"""The compiled event engine; import it only where numba may be absent or is wanted."""
