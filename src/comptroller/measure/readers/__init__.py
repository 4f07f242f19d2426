"""Readers of what benchmarks of engines print, one file each, as calibration input."""
