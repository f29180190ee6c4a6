"""Every record that passes between stages: a frozen dataclass each, from which the Arrow schema follows."""
