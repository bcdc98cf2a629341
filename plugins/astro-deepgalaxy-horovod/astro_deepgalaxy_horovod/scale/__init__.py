"""How training scales with the number of workers: measured, modelled, validated and projected."""
