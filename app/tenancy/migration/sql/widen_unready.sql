-- An SQL expression: a sentence where something that holds the column has no twin, or NULL.
-- Inputs of `Widening.fill`: column, table, unproved.
(SELECT 'something that holds {{table}}.{{column}} was added meanwhile: run the same command again' WHERE {{unproved}}
     OR EXISTS (SELECT FROM ({{> widen_held_indexes.sql}}) AS x WHERE NOT EXISTS (
            SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = x.indrelid AND i.indisvalid AND c.relname = twin))
     OR EXISTS (SELECT FROM ({{> widen_held_constraints.sql}}) AS k WHERE NOT EXISTS (
            SELECT FROM pg_constraint AS c WHERE c.conrelid = k.conrelid AND c.conname = twin AND (c.convalidated OR NOT k.convalidated))))
