"""Benchmarks, side by side with every peer: ``python -m tests.benchmarks --help``. No part of the default test run."""
