"""The one program, its bounds, and why nothing fits."""
