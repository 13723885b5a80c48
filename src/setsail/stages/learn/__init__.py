"""The training stage, alone or by several processes; layers taken out before it, and layers kept finer after it."""
