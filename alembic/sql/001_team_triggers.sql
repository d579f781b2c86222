-- A team's own triggers have no part in the move.
    SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';'),
           string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';')
      INTO triggers_off, triggers_on FROM pg_trigger
     WHERE tgrelid IN {{both}} AND NOT tgisinternal AND tgenabled IN ('O', 'A')
       AND tgfoid IS DISTINCT FROM to_regprocedure('set_updated_at()')::oid;
    EXECUTE coalesce(triggers_off, '');
