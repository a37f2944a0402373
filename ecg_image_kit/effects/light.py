"""Light: gradients, shadows, glare, colour."""
