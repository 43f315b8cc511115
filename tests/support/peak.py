"""The most memory that a program of its own took."""

PRINT_PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
"""Ends a program with its peak in KiB. Not ru_maxrss: a new program inherits that of the one that
started it, here pytest's, which hides what is looked for."""
