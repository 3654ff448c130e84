"""What both sides of isolation must agree on.

Every Python 3 must be able to read this file: the worker does before it knows which Python it is.
"""

PROTOCOL = 1
OLDEST = (3, 10)
