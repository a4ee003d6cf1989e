"""Small closed worlds in which the human utility is known exactly."""
