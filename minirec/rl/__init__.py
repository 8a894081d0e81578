"""Part IV: a policy without a language model (tracker, actor-critic, imitation, IL-Rec)."""
