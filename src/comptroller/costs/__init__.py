"""What work costs: pure, vectorised functions of facts. No input or output, no clock, no randomness."""
