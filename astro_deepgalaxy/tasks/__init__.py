"""Questions asked of the network, as scikit-learn-style estimators."""
