EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.oid = objid AND classid = 'pg_constraint'::regclass AND contype <> 'n')
         -- an index on what is computed from a time: the other type computes it otherwise, or cannot be indexed
         OR EXISTS (SELECT FROM pg_index WHERE indexrelid = objid AND classid = 'pg_class'::regclass
                       AND concat(indexprs, indpred) ~ (':varattno ' || refobjsubid || ' '))
