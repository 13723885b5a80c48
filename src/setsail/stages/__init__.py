"""Where the rooms meet: each file wires rooms together into one stage, and `voyage.py` sails them in order.

A stage is a function over artefacts. It is skipped when an artefact of its identity stands already, and goes on from
what a killed attempt left where that is safe. The files here are what every stage needs and the verbs over whole runs;
the stages lie in the folders, which import in one direction: `rows` (what is learned from), `lessons` (how),
`feedback`, `answering` (asked of a trained model), `checks`, `scores`, `learn`, `export`, `search`.
"""
