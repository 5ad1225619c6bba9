"""`argus doctor`: asks everything that ARGUS depends on how it is, and says in words what is wrong.

One module a dependency; all are asked at once, each question has a timeout, and what one does not
answer hides nothing of the others. It changes nothing, but for a key in Redis that expires at once.
"""
