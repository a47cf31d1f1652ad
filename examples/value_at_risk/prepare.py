"""Fit the model: daily prices in, mean vector, Cholesky factor and portfolio out, as JSON for every task.

    python -m examples.value_at_risk.prepare out/value_at_risk/model.json

The prices are real: daily adjusted closing prices of 20 stocks of the S&P 500, which the PyPI package skfolio
(BSD-3-Clause) ships as an example. The file is read out of the installed package; the package is not imported.
"""

import argparse
import csv
import gzip
import json
import math
from importlib.metadata import distribution
from operator import mul
from pathlib import Path
from typing import Any

PACKAGE = "skfolio"
PRICES = "skfolio/datasets/data/sp500_dataset.csv.gz"
# The last ten years of trading days: long enough for 20 means and 210 covariances, short enough to be of one time.
DAYS = 2520
# The portfolio: the same amount in each stock.
AMOUNT_PER_STOCK = 500_000.0


def read_prices() -> tuple[list[str], list[str], list[list[float]]]:
    """Read the package's file: the stocks, the dates, and for each date the prices."""
    path = Path(str(distribution(PACKAGE).locate_file(PRICES)))
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    header, body = rows[0], rows[1:]
    return header[1:], [row[0] for row in body], [[float(price) for price in row[1:]] for row in body]


def daily_returns(prices: list[list[float]]) -> list[list[float]]:
    """Give each day's simple return of each stock."""
    return [[now / before - 1 for before, now in zip(*pair, strict=True)] for pair in zip(prices, prices[1:])]  # noqa: B905, RUF007  the last price has no follower


def mean_vector(returns: list[list[float]]) -> list[float]:
    """Give the mean return of each stock."""
    return [math.fsum(column) / len(returns) for column in zip(*returns, strict=True)]


def covariance(returns: list[list[float]], mean: list[float]) -> list[list[float]]:
    """Give the sample covariance of the returns."""
    columns = [
        [value - centre for value in column] for column, centre in zip(zip(*returns, strict=True), mean, strict=True)
    ]
    count = len(returns) - 1
    return [[math.fsum(map(mul, a, b)) / count for b in columns] for a in columns]


def cholesky(matrix: list[list[float]]) -> list[list[float]]:
    """Give the lower triangular factor L with L·Lᵀ = matrix; row i has i + 1 numbers."""
    factor: list[list[float]] = []
    for i, line in enumerate(matrix):
        row: list[float] = []
        for j in range(i + 1):
            rest = line[j] - math.fsum(a * b for a, b in zip(row, factor[j] if j < i else row))  # noqa: B905  up to column j
            if j < i:
                row.append(rest / factor[j][j])
            elif rest > 0:
                row.append(math.sqrt(rest))
            else:
                raise ValueError(f"the covariance is not positive definite: stock {i} is a mixture of those before it")
        factor.append(row)
    return factor


def fit() -> dict[str, Any]:
    """Fit a multivariate normal model to the daily returns and lay the portfolio beside it."""
    stocks, dates, prices = read_prices()
    returns = daily_returns(prices[-DAYS - 1 :])
    mean = mean_vector(returns)
    return {
        "source": f"{PACKAGE} {distribution(PACKAGE).version}: {PRICES}",
        "from": dates[-DAYS],
        "to": dates[-1],
        "stocks": stocks,
        "portfolio": [AMOUNT_PER_STOCK] * len(stocks),
        "mean": mean,
        "factor": cholesky(covariance(returns, mean)),
    }


def main() -> None:
    """Write the model to the file named on the command line."""
    parser = argparse.ArgumentParser(description="Fit the model of the value-at-risk example to real prices.")
    parser.add_argument("model", type=Path, help="the JSON file to write")
    target = parser.parse_args().model
    model = fit()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(model, indent=1) + "\n", encoding="utf-8")
    print(f"{target}: {len(model['stocks'])} stocks, {model['from']} to {model['to']}")


if __name__ == "__main__":
    main()
