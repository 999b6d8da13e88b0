from array import array
from typing import Final

FREE: Final[int]
VALUE: Final[int]
KEYED: Final[int]
PSI: Final[int]
PRESSURE_STAT: Final[int]
CLOSED: Final[int]
ODD: Final[int]
KEYS_MAX: Final[int]
ROW_INTS: Final[int]
LINE_WORDS: Final[int]

def read(
    table: array[int],
    keys: bytes,
    values: array[int],
    status: array[int],
    rows: array[int] | None = None,
    /,
) -> list[int]: ...
