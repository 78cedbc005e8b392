-- How a ledger that has not seen the migration is read.
CREATE TEMP VIEW open_calls AS SELECT call, log, boot, holder, NULL AS deadline FROM main.open_calls;
