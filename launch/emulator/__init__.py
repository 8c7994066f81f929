"""A local QPU service: the HTTP interfaces of real providers on loopback, with Aer and calibrated noise behind them."""
