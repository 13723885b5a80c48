"""De-identification: what is found, what stands in its place, and the vault that can bring it back.

`redactor.py` treats the texts of one row; `registry.py` says which kinds there are and where their detectors stand, one
file for each group; `pseudonyms.py` invents what replaces a value; `vault.py` keeps the originals, encrypted. What does
not live here: what happens to a row that holds some (`prepare.py`). The invariants: every detector is pure; text
outside what was found does not change; a key never enters an artefact, a message or a log.
"""
