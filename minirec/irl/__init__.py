"""Part III: what did the demonstrator want? (reward nets, discriminator, weights)."""
