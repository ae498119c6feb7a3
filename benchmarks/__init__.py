"""What the README says of speed, measured: ``python -m benchmarks``."""
