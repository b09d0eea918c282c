"""Log p(text | class): what is computed (`estimators`) and how it is computed fast (`engine`, `store`).

The result is one array of samples (N texts, C classes, K draws) in nats. Everything later (Bayes, calibration,
intervals, plots) is replayed from it without a network.
"""
