"""What a person types: run, test and bench, and what stands behind them."""
