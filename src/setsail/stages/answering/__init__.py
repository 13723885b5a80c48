"""A trained model that answers: engines and predictors, in the terminal and behind a server."""
