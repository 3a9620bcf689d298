"""Ways in for records: the seed, OULAD, spreadsheets."""
