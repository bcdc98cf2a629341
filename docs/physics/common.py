"""What the experiments share."""

import joblib

SOFTENING = 0.3
STEP = 10 / 11  # as the presets choose for the default galaxy
# The orbit of the preset 'paper' for equal galaxies.
ORBIT = {
    "separation": 50.0,
    "pericentre": 4.0,
    "parabolic_fraction": 0.5,
    "primary_inclination": 30.0,
    "secondary_inclination": 60.0,
    "secondary_argument": 30.0,
}


def in_parallel(function, arguments):
    """Results of a function for each dict of arguments, in order."""
    return joblib.Parallel(min(len(arguments), joblib.cpu_count()))(
        joblib.delayed(function)(**each) for each in arguments
    )
