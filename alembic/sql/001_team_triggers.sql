-- A team's own triggers have no part in the move; writers wait only where there are any.
    SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';'),
           string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';')
      INTO triggers_off, triggers_on FROM pg_trigger
     WHERE tgrelid IN {{moving}} AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & {{events}} > 0
       AND tgname <> ALL ('{{{except}}}');
    EXECUTE coalesce(triggers_off, '');
