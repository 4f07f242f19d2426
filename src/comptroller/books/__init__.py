"""The ledger of calls, with budgets, keys, reports and reconciliation. Rows are appended, never changed."""
