-- Statements that validate. The keeper's CHECK proves that the copy is complete; a constraint that was never validated
-- stays so.
-- Inputs of `Widening.fill`: keeper, t, unproved.
SELECT 'ALTER TABLE {{t}} VALIDATE CONSTRAINT {{keeper}}' WHERE {{unproved}}
UNION ALL
SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.conrelid::regclass, twin)
  FROM ({{> widen_held_constraints.sql}}) AS k JOIN pg_constraint AS c ON c.conrelid = k.conrelid AND c.conname = twin
 WHERE k.convalidated AND NOT c.convalidated
