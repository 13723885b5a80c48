"""The faithfulness stages: what was trained against every form that is served."""
