"""Learning from views: encoders, losses, methods and the engine that trains them; tensors only, nothing of tars."""
