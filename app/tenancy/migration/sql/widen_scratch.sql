-- An empty copy of the table in which the column has the name of its twin: of its indexes and CHECKs PostgreSQL writes
-- down what the twins are to be. Indexes get other names in the copy: what they are on tells which is which.
-- Inputs of `Widening.fill`: begun, c, n, t.
DO $scratch$
BEGIN
    IF to_regclass('pg_temp.widen_scratch') IS NOT NULL THEN
        DROP TABLE pg_temp.widen_scratch, pg_temp.widen_indexes;
    END IF;
    CREATE TEMPORARY TABLE widen_indexes (original oid, scratch oid);
    IF NOT {{begun}} THEN
        CREATE TEMPORARY TABLE widen_scratch ();
        RETURN;
    END IF;
    CREATE TEMPORARY TABLE widen_scratch (LIKE {{t}} INCLUDING INDEXES INCLUDING CONSTRAINTS);
    INSERT INTO widen_indexes
        SELECT x.indexrelid, min(s.indexrelid) FROM (SELECT *, pg_get_indexdef(indexrelid) AS def FROM ({{> widen_held_indexes.sql}}) AS x) AS x
          JOIN (SELECT *, pg_get_indexdef(indexrelid) AS def FROM pg_index WHERE indrelid = 'pg_temp.widen_scratch'::regclass) AS s
            ON substr(s.def, strpos(s.def, ' USING ')) = substr(x.def, strpos(x.def, ' USING ')) AND s.indisunique = x.indisunique
         GROUP BY 1;
    ALTER TABLE pg_temp.widen_scratch DROP COLUMN {{n}};
    ALTER TABLE pg_temp.widen_scratch RENAME COLUMN {{c}} TO {{n}};
END $scratch$
