"""How fast, and how large: `python -m benchmarks [NAMES]` runs these and writes results/NAME.json."""
