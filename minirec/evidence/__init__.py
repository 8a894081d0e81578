"""Part V: evidence (metrics, intervals, tables, figures; only the last load matplotlib)."""
