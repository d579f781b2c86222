-- Parts that the queries of openings share.
-- Inputs (binds): schema; tables, all of ours; closed, those of them that row level security closes; roles, our two;
-- closed_roles, those that must not get around it; public_api, the roles of whoever has Supabase's public key; watched,
-- the roles whose every privilege is looked at; single_business, the name of the policy of former roles.
s AS (
    SELECT * FROM pg_namespace WHERE nspname = :schema
), t AS (
    SELECT c.*, format('%I.%I', :schema, relname) AS sql
      FROM pg_class AS c JOIN s ON relnamespace = s.oid WHERE relname = ANY (:tables)
), closed AS (
    SELECT * FROM t WHERE relname = ANY (:closed)
), two AS (
    SELECT * FROM pg_roles WHERE rolname = ANY (:roles)
), owners AS (
    SELECT DISTINCT relowner AS oid FROM t
), former AS (
    SELECT DISTINCT r.oid, r.rolname
      FROM closed JOIN pg_policy ON polrelid = closed.oid AND polname = :single_business
      JOIN pg_roles AS r ON r.oid = ANY (polroles)
     WHERE NOT rolsuper AND NOT rolbypassrls AND r.oid NOT IN (SELECT oid FROM owners)
), confined AS (
    SELECT oid, rolname FROM pg_roles WHERE rolname = ANY (:closed_roles) UNION SELECT * FROM former
), watched (oid, rolname) AS (
    SELECT oid, quote_ident(rolname) FROM pg_roles WHERE rolname = ANY (:watched)
    UNION ALL SELECT 0::oid, 'PUBLIC'
), workers AS (
    SELECT r.oid, rolname FROM pg_roles AS r
     WHERE rolname = ANY (:roles) OR oid IN (SELECT oid FROM owners)
        OR NOT rolsuper AND EXISTS (SELECT FROM two WHERE pg_has_role(r.oid, two.oid, 'MEMBER'))
        OR NOT rolsuper AND EXISTS (SELECT FROM t WHERE has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE'))
), routines AS MATERIALIZED (  -- the team's, which run as their owner or are called by one that does
    SELECT p.oid, proname, prosrc FROM pg_proc AS p
     WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
       AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
), reached (class, oid, name, via) AS (
    SELECT 'pg_class'::regclass::oid, oid, relname, relname FROM closed
    UNION
    SELECT next.class, next.oid, next.name, reached.via FROM reached CROSS JOIN LATERAL (
        SELECT 'pg_class'::regclass::oid AS class, c.oid, relname AS name
          FROM pg_depend JOIN pg_rewrite AS r ON (classid, objid) = ('pg_rewrite'::regclass, r.oid)
          JOIN pg_class AS c ON c.oid = ev_class
         WHERE (refclassid, refobjid) = (reached.class, reached.oid)
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, proname FROM routines AS p
         WHERE (reached.class, reached.oid) IN (
                   SELECT refclassid, refobjid FROM pg_depend WHERE (classid, objid) = ('pg_proc'::regclass, p.oid))
            OR prosrc ~* CASE WHEN reached.class = 'pg_class'::regclass
                    THEN '(^|[^[:alnum:]_."])("?' || regexp_replace(:schema, '(\W)', '\\\1', 'g') || '"?\s*\.\s*)?"?'
                         || regexp_replace(reached.name, '(\W)', '\\\1', 'g') || '"?($|[^[:alnum:]_"])'
                    ELSE '(^|[^[:alnum:]_])' || regexp_replace(reached.name, '(\W)', '\\\1', 'g') || '"?\s*\(' END
    ) AS next
), named AS (
    SELECT c.*, CASE WHEN nspname = :schema THEN quote_ident(relname) ELSE format('%I.%I', nspname, relname) END AS shown,
           format('%I.%I', nspname, relname) AS sql
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
)
