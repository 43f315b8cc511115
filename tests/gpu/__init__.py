"""Checks for a machine with a GPU: `python -m tests.gpu`, or `make gpu-test`.

They are no part of `make test`: pytest collects nothing here. torch, numpy, h5py and this checkout
are enough; pytest is not needed.
"""
