"""Part I: a world to recommend in (rewards, users who quit, environments, controls)."""
