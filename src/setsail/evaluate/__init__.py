"""Scoring systems on held-out rows, baselines, intervals and the report.

`score.evaluate` asks every system the same questions and gives one `Evaluation`; `report.build` writes the page that a
person reads. Models are reached only through the callables of a `score.System`: nothing here loads or runs one.
"""
