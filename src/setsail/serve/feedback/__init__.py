"""The log of answers: what was asked and answered, how it was rated, and what a reviewer decided; encrypted.

`sealed.py` is the file, `folder.py` a folder of files, `record.py` what stands in them, `log.py` writes while a server
runs, `ids.py` tells a client's own answers, `routes.py` takes ratings, `standing.py` says how each answer stands. What
becomes of an answer that was approved is made in `stages/feedback/rows.py`.
"""
