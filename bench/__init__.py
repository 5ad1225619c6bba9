"""What ARGUS costs and how fast it is, measured: `make bench-local` and its sisters.

Nothing here is part of the product. It runs the product's own processes as the chart would, offers
them load, reads what the kernel charged each of them, and holds that against the budgets.
"""
