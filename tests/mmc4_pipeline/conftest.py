from hypothesis import HealthCheck, settings

# A busy machine is no failure: what hypothesis finds must not depend on the time that an example takes.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
