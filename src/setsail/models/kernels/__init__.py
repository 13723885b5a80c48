"""What a training step computes besides matrix products, as compiled kernels; plain torch does it where none can be."""
