"""What is remembered of experiments: a record of every run, the ledger of outcomes, and what is drawn from them.

```text
 train_*.py ─► runs: runs/{timestamp}_meta.json, and W&B where it is configured
 a researcher ─► ledger: results.tsv ─► report: counts, running best, plots ─► analysis.ipynb
```
"""

from dfresearch.experiment.runs import Run, start_run

__all__ = ["Run", "start_run"]
