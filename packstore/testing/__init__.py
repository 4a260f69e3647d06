"""Conformance suites and hypothesis strategies, for packstore's own tests and for those who extend it."""
