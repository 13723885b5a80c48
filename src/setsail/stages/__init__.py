"""Where the rooms meet: each file wires rooms together into one stage, and `voyage.py` sails them in order.

A stage is a function over artefacts. It is skipped when an artefact of its identity stands already, and goes on from
what a killed attempt left where that is safe.
"""
