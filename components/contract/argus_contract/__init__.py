"""All that ARGUS's processes agree on: names, records, documents and codes.

Nothing here does I/O, and nothing here may import a client library: a disagreement between two
processes must be impossible to write, not merely caught by a test.
"""
