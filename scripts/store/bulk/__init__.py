"""Bulk operations: a query over a whole shop, run aside, its result a JSONL file behind a signed link."""
