"""From a source to split rows: reading, recognising, cleaning, masking, removing duplicates, splitting.

What does not live here: token counts and rendering (`tokens`), and what a task makes of a row (`tasks`). The invariant
of the room: every record that was read is either kept or dropped with a counted reason, and keeps its id.
"""
