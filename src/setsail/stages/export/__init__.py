"""The forms of a trained model: exported, measured beside one another, bundled for the edge."""
