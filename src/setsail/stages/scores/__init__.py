"""The evaluation stages: each model against the rungs below it, on rows that nothing was trained on."""
