-- A team's own triggers have no part in the move.
    team_triggers text[] := ARRAY(
        SELECT format('ALTER TABLE %s ENABLE %sTRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS ' ELSE '' END, tgname)
          FROM pg_trigger WHERE tgrelid IN ('customers'::regclass, 'conversations'::regclass) AND NOT tgisinternal
           AND tgenabled IN ('O', 'A') AND tgfoid IS DISTINCT FROM to_regprocedure('set_updated_at()')::oid);
