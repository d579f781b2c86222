-- A team's own triggers have no part in a move: the statements that disable them, and those that enable them again.
-- Inputs: moving, the tables; events, the bits of pg_trigger.tgtype: 4 INSERT, 8 DELETE, 16 UPDATE; except, names.
SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';') AS disable,
       string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';') AS enable
  FROM pg_trigger
 WHERE tgrelid IN {{moving}} AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & {{events}} > 0
   AND tgname <> ALL ('{{{except}}}')
