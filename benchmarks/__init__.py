"""Micro-benchmarks, peers and recorded results."""
