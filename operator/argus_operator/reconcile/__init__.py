"""Observe, plan, apply: one tenant with its pipelines at a time.

Logic over the ports; it imports no client library.
"""
