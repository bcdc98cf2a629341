"""Galaxy mergers simulated particle by particle and observed as a telescope would."""
