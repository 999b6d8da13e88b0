"""
Carrying plans out: remember what stood there, write, read back, and put everything back.

The layer must not know why a value is wanted (``policies/``) nor any file's place (``kernel/``).
"""
