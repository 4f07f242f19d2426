"""Stores: the ledger, budgets, keys, reconciliation. Rows are appended, never changed."""
