-- Foreign keys from and to the column, and CHECKs of it, with the name of the twin.
-- Inputs of `Widening.fill`: kept.
    SELECT con.*, 'widened_' || md5(con.conname) AS twin, w.tab, w.old
      FROM {{> widen_column.sql}} AS w JOIN pg_constraint AS con ON conparentid = 0 AND conname <> {{'kept'}} AND left(conname, 8) <> 'widened_' AND (
               contype IN ('f', 'c') AND conrelid = w.tab AND w.old = ANY (conkey) OR contype = 'f' AND confrelid = w.tab AND w.old = ANY (confkey))
