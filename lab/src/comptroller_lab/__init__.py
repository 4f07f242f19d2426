"""What fits, samples, measures and checks for the benchmarks and tests of Comptroller; no command needs it."""
