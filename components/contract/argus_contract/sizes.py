"""Sizes that more than one process must agree on, in bytes unless said otherwise."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

MAX_EVENT: Final = 256 * KIB
"""Largest event, as the client wrote it."""
KEPT_OF_REJECT: Final = 64 * KIB
"""How much of a body that is no JSON, or of an event over the limit, a reject keeps."""
MAX_BODY: Final = 5 * MIB
"""Largest request body as sent."""
MAX_INFLATED: Final = 20 * MIB
"""Largest request body after decompression."""
MAX_EVENTS: Final = 5_000
"""Most events in one request; a key bucket's burst may not be smaller."""
MAX_DEPTH: Final = 100
"""Deepest nesting of an event's JSON."""
RECORD_OVERHEAD: Final = 16 * KIB
"""Room for envelope and headers that a topic's max.message.bytes leaves above MAX_EVENT."""
DEAD_LETTER_OVERHEAD: Final = 32 * KIB
"""Room for a dead letter's headers above the largest record."""
MAX_CLOCK_AHEAD_S: Final = 3_600
"""How far in the future an event's time may lie, in seconds."""
