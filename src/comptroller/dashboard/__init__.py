"""The dashboard: books, plan and what-ifs as pages that a browser asks for part by part."""
