"""Timings of the package against what a good user of the alternative would write."""
