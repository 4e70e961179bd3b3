"""Sampling: the decoding loop, its cache and its batches, and the check that it is exact."""
