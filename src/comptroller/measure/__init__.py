"""What real hardware and engines did: readers of measurements, and the calibration fitted to them."""
