"""What a model is taught by rows: the lesson of each kind of task, its examples, and the probes it is held to later."""
