"""Sampling: engines, the decoding loop, its cache and batches, and the check that it is exact."""
