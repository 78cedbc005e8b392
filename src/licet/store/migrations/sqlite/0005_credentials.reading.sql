-- How a ledger that has not seen the migration is read.
CREATE TEMP VIEW credentials AS
SELECT
    '' AS id, x'' AS digest, x'' AS content, 0 AS created_at, NULL AS expires_at, NULL AS ends_at, NULL AS last_used_at
WHERE 0;
