"""Intel Speed Select: what ``/dev/isst_interface`` of both generations offers, typed, and what may be written there."""
