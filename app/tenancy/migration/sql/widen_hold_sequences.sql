-- Statements that lock an identity's sequence and keep its numbers. It cannot pass to another column: its numbers are read
-- and given to a new one of the same name. Who takes numbers from it by name waits meanwhile.
SELECT statement FROM ({{> widen_sequences.sql}}) AS q, LATERAL (VALUES (1, format('ALTER SEQUENCE %s CACHE %s', oid::regclass, seqcache)),
       (2, format('SELECT set_config(''widen.last_value'', last_value::text, true), set_config(''widen.is_called'', is_called::text, true) FROM %s', oid::regclass)))
       AS s (place, statement) WHERE deptype = 'i' ORDER BY place
