"""Widen an integer column to bigint while the bot goes on: `refuse_to_widen`, then `widen_to_bigint`.

A twin is built beside everything that holds the column: the column itself, which a trigger keeps and a CHECK proves,
its indexes, foreign keys and CHECKs. Then one transaction of milliseconds drops the old ones and gives the twins
their names. What costs nothing to make again (policies, triggers, grants, statistics, comments, the default, the
sequence) moves in that transaction: PostgreSQL writes its definition down before the column is renamed, and the same
text means the wide column after.

Until that transaction the old column is what counts. Nothing is remembered anywhere but in the catalogue: the same
command goes on wherever a run ended.
"""

from dataclasses import dataclass

from app.tenancy.migration import access, ops
from app.tenancy.migration.ops import has_column
from app.tenancy.migration.steps import (
    dollar_quoted,
    emit,
    emit_statements,
    gave_up,
    literal,
    notice,
    options,
    refuse,
    step,
    step_per_statement,
)

PAGES = 64
"""Pages of 8 kB that one transaction copies: some thousand rows, some hundredths of a second."""


def refuse_to_widen(*columns: tuple[str, str]) -> None:
    """Stop before any change where a (table, column) cannot be widened, naming everything in the way at once.

    Where nothing is, notices say what the widening needs and what is to be looked at.

    Raises:
        sqlalchemy.exc.DBAPIError: something is in the way; its message names each with the command that removes it.
        ValueError: a single transaction is asked for, in which everybody would wait for the copy.
    """
    if options().single_transaction:
        by_hand = "; ".join(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bigint" for table, column in columns)
        raise ValueError(
            "Widening copies rows in many transactions, so that nobody waits: run it without -x single-transaction=yes, "
            f"or in a quiet hour run {by_hand}; who uses the tables waits, about 10 s for a million rows."
        )
    for number, (table, column) in enumerate(columns):
        w = Widening(table, column)
        emit(w.fill(TRIAL).replace(":trial:", str(number)))
        refuse(f"array_to_string(nullif(current_setting('widen.trial_{number}', true), '')::text[], E'\\n')")
        lines = "(SELECT string_agg(said, E'\\n') FROM ({}) AS o (place, said))"
        refuse(lines.format(f"SELECT * FROM ({w.fill(OBSTACLES)}) AS o (place, said) ORDER BY place, said"))
        notice(lines.format(w.fill(NOTICES)))


def widen_to_bigint(table: str, column: str) -> None:
    """Make an integer or smallint column a bigint; nothing happens where it is one.

    Args:
        table: name of the table, in the current schema.
        column: name of the column. It becomes the last of its table.

    To be called outside of a transaction (`steps.outside_transaction`), after `refuse_to_widen`.
    Locks: ACCESS EXCLUSIVE, milliseconds, three times; a row is locked for some hundredths of a second.

    Raises:
        sqlalchemy.exc.DBAPIError: a lock was not to be had for `-x lock-wait` seconds.
    """
    w = Widening(table, column)
    name = f"{table}.{column}"
    with step(f"{name}: a wide column beside it", done=f"NOT {w.narrow} OR {w.begun}", lock=w.t):
        emit(f"ALTER TABLE {w.t} ADD COLUMN {w.n} bigint")
        emit(
            f"CREATE FUNCTION {w.keeper}() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS "
            + dollar_quoted(f"BEGIN\n    NEW.{w.n} := NEW.{w.c};\n    RETURN NEW;\nEND")
        )
        emit_statements(w.fill(BEGIN))
    step_per_statement(f"{name}: copy", w.fill(CHUNKS), table=w.t)
    step_per_statement(f"{name}: vacuum and statistics", f"SELECT 'VACUUM (ANALYZE, TRUNCATE false) {w.t}' WHERE {w.unproved}", table=w.t)  # fmt: skip
    emit(w.fill(SCRATCH))
    ops.build_indexes(w.t, f"{name}: an index", w.fill(INDEXES))
    missing = w.fill(CONSTRAINTS)
    with step(f"{name}: constraints beside", done=f"NOT EXISTS (SELECT FROM ({missing}) AS missing)", lock=w.t):
        emit_statements(missing)
    step_per_statement(f"{name}: validate", w.fill(VALIDATIONS), table=w.t)
    with step(f"{name}: bigint", done=f"NOT {w.narrow}", lock=w.t):
        # Definitions are read under the lock: nothing that is added at this moment is lost.
        emit(f"LOCK TABLE {w.t} IN ACCESS EXCLUSIVE MODE")
        emit_statements(w.fill(HOLD_SEQUENCES))
        refuse(w.fill(UNREADY))
        emit_statements(w.fill(SWAP))


@dataclass(frozen=True)
class Widening:
    """One column on its way, and the names of what is built beside it."""

    table: str
    column: str

    @property
    def t(self) -> str:
        """The table, quoted."""
        return _quoted(self.table)

    @property
    def c(self) -> str:
        """The column, quoted."""
        return _quoted(self.column)

    @property
    def n(self) -> str:
        """The wide column while it is beside the narrow one, quoted."""
        return _quoted(f"{self.column}_widened")

    @property
    def keeper(self) -> str:
        """The trigger that keeps the wide column equal, its function and the CHECK that proves it, quoted."""
        return _quoted(f"widen_{self.table}_{self.column}")

    @property
    def narrow(self) -> str:
        """SQL condition: the column is still to be widened."""
        return (
            f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({literal(self.t)}) "
            f"AND attname = {literal(self.column)} AND atttypid IN ('int4'::regtype, 'int2'::regtype))"
        )

    @property
    def begun(self) -> str:
        """SQL condition: the wide column is there."""
        return has_column(self.t, f"{self.column}_widened")

    @property
    def unproved(self) -> str:
        """SQL condition: it is not yet proved that every row has its wide value."""
        keeper = f"widen_{self.table}_{self.column}"
        return (
            f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass({literal(self.t)}) "
            f"AND conname = {literal(keeper)} AND NOT convalidated)"
        )

    def fill(self, sql: str) -> str:
        """The SQL with the names of this column; `{{x}}` is as SQL names it, `{{'x'}}` the same as a string literal."""
        for key, part in PARTS.items():
            sql = sql.replace("{{" + key + "}}", part)
        values = {
            "t": self.t,
            "c": self.c,
            "n": self.n,
            "keeper": self.keeper,
            "table": self.table,
            "column": self.column,
            "wide": f"{self.column}_widened",
            "aside": _quoted(f"{self.column}_narrow"),
            "kept": f"widen_{self.table}_{self.column}",
            "unproved": self.unproved,
            "begun": self.begun,
            "narrow": self.narrow,
            "grantee": access.GRANTEE,
        }
        if "{{'chunk'}}" in sql:
            sentence, blocker = gave_up(self.t, others="false")
            chunk = CHUNK.replace(":gave_up:", sentence).replace(":blocker:", blocker)
            values["chunk"] = self.fill(chunk.replace(":wait:", f"{options().lock_wait:g}"))
        for key, value in values.items():
            sql = sql.replace("{{'" + key + "'}}", literal(value)).replace("{{" + key + "}}", value)
        return sql.replace(":pages:", str(PAGES)).strip()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# The table, the attribute numbers of the column and of its twin, and whether it may be NULL.
COLUMN = """(
    SELECT a.attrelid AS tab, a.attnum AS old, n.attnum AS new, a.attnotnull AS required, a.attacl AS acl, n.attacl AS new_acl,
           a.attidentity AS identity, a.attoptions AS settings, nullif(a.attstattarget, -1) AS target
      FROM pg_attribute AS a LEFT JOIN pg_attribute AS n ON n.attrelid = a.attrelid AND n.attname = {{'wide'}}
     WHERE a.attrelid = to_regclass({{'t'}}) AND a.attname = {{'column'}} AND a.atttypid IN ('int4'::regtype, 'int2'::regtype))"""

# Valid indexes that hold the column, with the constraint over each, and the name of the twin.
HOLDING_INDEXES = """
    SELECT x.*, i.relname AS name, 'widened_' || md5(i.relname) AS twin, con.conname, con.contype, con.oid AS con,
           con.condeferrable, con.condeferred, i.reltablespace
      FROM {{w}} AS w JOIN pg_index AS x ON indrelid = w.tab AND indisvalid JOIN pg_class AS i ON i.oid = indexrelid
      LEFT JOIN pg_constraint AS con ON conindid = indexrelid AND conrelid = w.tab AND contype IN ('p', 'u', 'x')
     WHERE w.old = ANY (indkey::int2[]) OR EXISTS (
               SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = w.tab AND refobjsubid = w.old)"""

# Foreign keys from and to the column, and CHECKs of it, with the name of the twin.
HOLDING_CONSTRAINTS = """
    SELECT con.*, 'widened_' || md5(con.conname) AS twin, w.tab, w.old
      FROM {{w}} AS w JOIN pg_constraint AS con ON conparentid = 0 AND conname <> {{'kept'}} AND left(conname, 8) <> 'widened_' AND (
               contype IN ('f', 'c') AND conrelid = w.tab AND w.old = ANY (conkey) OR contype = 'f' AND confrelid = w.tab AND w.old = ANY (confkey))"""

# Triggers that an UPDATE of the wide column alone would fire name all columns that were there before for as long as
# it is filled: the copy fires none of them, and an UPDATE of anything else does. The keeper's arguments say which.
BEGIN = """
WITH t AS (
    SELECT g.oid, tgname, tgenabled, format('CREATE TRIGGER %I ', tgname) AS head,
           substr(pg_get_triggerdef(g.oid), length(format('CREATE TRIGGER %I ', tgname)) + 1) AS rest
      FROM pg_trigger AS g WHERE tgrelid = {{'t'}}::regclass AND NOT tgisinternal AND tgtype & 16 > 0 AND tgattr::text = '' AND tgname <> {{'kept'}}
), p AS (
    SELECT *, (regexp_match(rest, '^(?:BEFORE|AFTER) (?:INSERT OR )?(?:DELETE OR )?UPDATE'))[1] AS event,
           (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = {{'t'}}::regclass AND attnum > 0 AND NOT attisdropped AND attname <> {{'wide'}}
               AND attgenerated = '') AS columns FROM t  -- a BEFORE trigger that names a generated column fires on every UPDATE
)
SELECT statement FROM (
    SELECT 1, format('ALTER TABLE {{t}} ADD CONSTRAINT {{keeper}} CHECK (%s) NOT VALID', CASE WHEN required
             THEN '{{n}} IS NOT NULL AND {{n}} = {{c}}' ELSE '{{n}} IS NOT DISTINCT FROM {{c}}' END) FROM {{w}} AS w
    UNION ALL SELECT 2, format('GRANT %s ({{n}}) ON {{t}} TO %s%s', privilege_type, {{grantee}},
             CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM {{w}} AS w, aclexplode(acl)
    UNION ALL SELECT 3, format('CREATE OR REPLACE %s%s OF %s%s', substr(head, 8), event, columns, substr(rest, length(event) + 1)) FROM p
    UNION ALL SELECT 4, format('ALTER TABLE {{t}} %s TRIGGER %I', CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
      FROM t WHERE tgenabled <> 'O'
    UNION ALL SELECT 5, format('CREATE TRIGGER {{keeper}} BEFORE INSERT OR UPDATE ON {{t}} FOR EACH ROW EXECUTE FUNCTION {{keeper}}(%s)',
                               (SELECT string_agg(quote_literal(tgname), ', ') FROM t))
    UNION ALL SELECT 6, 'ALTER TABLE {{t}} ENABLE ALWAYS TRIGGER {{keeper}}'
) AS s (place, statement) ORDER BY place"""

# By pages, not by key: it needs no index, a page that is done costs nothing to pass again, and what other
# transactions have locked is passed over and asked for again. A row written meanwhile has its value from the trigger.
CHUNK = """DO $copy$
DECLARE
    page bigint := :first:;
    since timestamptz;
    give_up_at timestamptz;
    low tid;
    high tid;
BEGIN
    WHILE page < :last: LOOP
        low := format('(%s,0)', page)::tid;
        high := format('(%s,0)', least(page + :pages:, :last:))::tid;
        give_up_at := clock_timestamp() + interval ':wait: s';
        LOOP
            since := clock_timestamp();
            UPDATE {{t}} SET {{n}} = {{c}} WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {{t}} WHERE ctid >= low AND ctid < high AND {{n}} IS DISTINCT FROM {{c}} FOR NO KEY UPDATE SKIP LOCKED));
            COMMIT;
            PERFORM pg_sleep(least(extract(epoch FROM clock_timestamp() - since) / 2, 0.5));
            EXIT WHEN NOT EXISTS (SELECT FROM {{t}} WHERE ctid >= low AND ctid < high AND {{n}} IS DISTINCT FROM {{c}});
            IF clock_timestamp() >= give_up_at THEN
                RAISE EXCEPTION ':gave_up:', :blocker: USING ERRCODE = 'lock_not_available';
            END IF;
            PERFORM pg_sleep(0.1);
        END LOOP;
        page := page + :pages:;
    END LOOP;
END $copy$"""

CHUNKS = """
SELECT replace(replace({{'chunk'}}, ':first:', (pages * part / parts)::text), ':last:', (pages * (part + 1) / parts)::text)
  FROM (SELECT pages, CASE WHEN pages < :pages: * 10 THEN 1 ELSE 10 END AS parts
          FROM (SELECT pg_relation_size(to_regclass({{'t'}})) / current_setting('block_size')::bigint AS pages) AS size) AS size,
       generate_series(0, parts - 1) AS part WHERE pages > 0 AND {{unproved}} ORDER BY part"""

# An empty copy of the table in which the column has the name of its twin: of its indexes and CHECKs PostgreSQL writes
# down what the twins are to be. Indexes get other names in the copy: what they are on tells which is which.
SCRATCH = """DO $scratch$
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
        SELECT x.indexrelid, min(s.indexrelid) FROM (SELECT *, pg_get_indexdef(indexrelid) AS def FROM ({{indexes}}) AS x) AS x
          JOIN (SELECT *, pg_get_indexdef(indexrelid) AS def FROM pg_index WHERE indrelid = 'pg_temp.widen_scratch'::regclass) AS s
            ON substr(s.def, strpos(s.def, ' USING ')) = substr(x.def, strpos(x.def, ' USING ')) AND s.indisunique = x.indisunique
         GROUP BY 1;
    ALTER TABLE pg_temp.widen_scratch DROP COLUMN {{n}};
    ALTER TABLE pg_temp.widen_scratch RENAME COLUMN {{c}} TO {{n}};
END $scratch$"""

INDEXES = """
SELECT format('CREATE %sINDEX %I ON {{t}}%s%s%s', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, twin,
              left(definition, length(definition) - length(filter)), ' TABLESPACE ' || quote_ident(spcname), filter)
  FROM ({{indexes}}) AS x JOIN pg_temp.widen_indexes ON original = x.indexrelid
  JOIN pg_index AS s ON s.indexrelid = scratch LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT substr(pg_get_indexdef(scratch), strpos(pg_get_indexdef(scratch), ' USING ')) AS definition,
                            coalesce(' WHERE ' || pg_get_expr(s.indpred, s.indrelid), '') AS filter) AS d"""

# What is missing: foreign keys and CHECKs of the wide column, not yet validated. A key's columns are put together,
# what follows them is as PostgreSQL writes it down.
CONSTRAINTS = """
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s(%s)%s%s', conrelid::regclass, twin, new_from, confrelid::regclass, new_to,
              replace(rest, ' NOT VALID', ''), CASE WHEN rest LIKE '% NOT ENFORCED%' THEN '' ELSE ' NOT VALID' END)
  FROM (SELECT *, substr(pg_get_constraintdef(k.oid), length(format('FOREIGN KEY (%s) REFERENCES %s(%s)', old_from, confrelid::regclass, old_to)) + 1) AS rest
          FROM ({{constraints}}) AS k CROSS JOIN LATERAL (
               SELECT string_agg(quote_ident(f.attname), ', ' ORDER BY place) AS old_from, string_agg(quote_ident(t.attname), ', ' ORDER BY place) AS old_to,
                      string_agg(CASE WHEN (f.attrelid, f.attnum) = (tab, old) THEN {{'n'}} ELSE quote_ident(f.attname) END, ', ' ORDER BY place) AS new_from,
                      string_agg(CASE WHEN (t.attrelid, t.attnum) = (tab, old) THEN {{'n'}} ELSE quote_ident(t.attname) END, ', ' ORDER BY place) AS new_to
                 FROM unnest(conkey, confkey) WITH ORDINALITY AS key (a, b, place)
                 JOIN pg_attribute AS f ON f.attrelid = conrelid AND f.attnum = a JOIN pg_attribute AS t ON t.attrelid = confrelid AND t.attnum = b) AS columns
         WHERE contype = 'f') AS k
 WHERE NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conrelid = k.conrelid AND c.conname = twin)
UNION ALL
SELECT format('ALTER TABLE {{t}} ADD CONSTRAINT %I %s%s', twin, replace(pg_get_constraintdef(s.oid), ' NOT VALID', ''),
              CASE WHEN pg_get_constraintdef(s.oid) LIKE '% NOT ENFORCED%' THEN '' ELSE ' NOT VALID' END)
  FROM ({{constraints}}) AS k JOIN pg_constraint AS s ON s.conrelid = to_regclass('pg_temp.widen_scratch') AND s.conname = k.conname
 WHERE k.contype = 'c' AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conrelid = k.conrelid AND c.conname = twin)"""

# The keeper's CHECK proves that the copy is complete. A constraint that was never validated stays so.
VALIDATIONS = """
SELECT 'ALTER TABLE {{t}} VALIDATE CONSTRAINT {{keeper}}' WHERE {{unproved}}
UNION ALL
SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.conrelid::regclass, twin)
  FROM ({{constraints}}) AS k JOIN pg_constraint AS c ON c.conrelid = k.conrelid AND c.conname = twin
 WHERE k.convalidated AND NOT c.convalidated"""

UNREADY = """
(SELECT 'something that holds {{table}}.{{column}} was added meanwhile: run the same command again' WHERE {{unproved}}
     OR EXISTS (SELECT FROM ({{indexes}}) AS x WHERE NOT EXISTS (
            SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = x.indrelid AND i.indisvalid AND c.relname = twin))
     OR EXISTS (SELECT FROM ({{constraints}}) AS k WHERE NOT EXISTS (
            SELECT FROM pg_constraint AS c WHERE c.conrelid = k.conrelid AND c.conname = twin AND (c.convalidated OR NOT k.convalidated))))"""

SEQUENCES = """
    SELECT q.*, c.relname, d.deptype, c.relacl, c.relowner, c.oid
      FROM {{w}} AS w JOIN pg_depend AS d ON d.refobjid = w.tab AND d.refobjsubid = w.old AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass
      JOIN pg_sequence AS q ON seqrelid = d.objid JOIN pg_class AS c ON c.oid = seqrelid
    UNION
    SELECT q.*, c.relname, 'n', c.relacl, c.relowner, c.oid
      FROM {{w}} AS w JOIN pg_attrdef AS f ON adrelid = w.tab AND adnum = w.old
      JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
      JOIN pg_sequence AS q ON seqrelid = d.refobjid JOIN pg_class AS c ON c.oid = seqrelid"""

# An identity's sequence cannot pass to another column: its numbers are read and given to a new one of the same name.
# Who takes numbers from it by name waits meanwhile.
HOLD_SEQUENCES = """
SELECT statement FROM ({{sequences}}) AS q, LATERAL (VALUES (1, format('ALTER SEQUENCE %s CACHE %s', oid::regclass, seqcache)),
       (2, format('SELECT set_config(''widen.last_value'', last_value::text, true), set_config(''widen.is_called'', is_called::text, true) FROM %s', oid::regclass)))
       AS s (place, statement) WHERE deptype = 'i' ORDER BY place"""

SWAP = """
WITH w AS (SELECT * FROM {{w}} AS w),
x AS ({{indexes}}),
k AS ({{constraints}}),
q AS ({{sequences}}),
n AS (SELECT conname FROM pg_constraint, w WHERE conrelid = tab AND contype = 'n' AND conkey = ARRAY[old]),  -- from PostgreSQL 18 on
g AS (
    SELECT g.*, format('CREATE TRIGGER %I ', tgname) AS head, pg_get_triggerdef(g.oid) AS def,
           ' OF ' || (SELECT string_agg(quote_ident(attname), ', ' ORDER BY place) FROM unnest(tgattr::int2[]) WITH ORDINALITY AS u (num, place)
                        JOIN pg_attribute ON attrelid = tgrelid AND attnum = num) || ' ' AS columns,
           EXISTS (SELECT FROM pg_trigger AS keeper WHERE keeper.tgrelid = w.tab AND keeper.tgname = {{'kept'}}
                      AND encode(convert_to(g.tgname, getdatabaseencoding()), 'escape') = ANY (string_to_array(encode(keeper.tgargs, 'escape'), '\\000'))) AS narrowed
      FROM w JOIN pg_trigger AS g ON tgrelid = w.tab AND NOT tgisinternal AND tgname <> {{'kept'}}
       AND EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND objid = g.oid AND refobjid = w.tab AND refobjsubid = w.old)
)
SELECT statement FROM (
    -- What has a twin goes.
    SELECT 10, format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM k
    UNION ALL SELECT 11, CASE WHEN con IS NULL THEN format('DROP INDEX %s', indexrelid::regclass) ELSE format('ALTER TABLE {{t}} DROP CONSTRAINT %I', conname) END FROM x
    -- NOT NULL costs no scan: the CHECK proves it.
    UNION ALL SELECT 20, CASE WHEN n.conname IS NOT NULL THEN format('ALTER TABLE {{t}} ADD CONSTRAINT %I NOT NULL {{n}}', 'widened_' || md5(n.conname)) ELSE 'ALTER TABLE {{t}} ALTER COLUMN {{n}} SET NOT NULL' END
      FROM w LEFT JOIN n ON true WHERE required
    UNION ALL SELECT 21, 'ALTER TABLE {{t}} DROP CONSTRAINT {{keeper}}' FROM w
    UNION ALL SELECT 22, 'DROP TRIGGER {{keeper}} ON {{t}}' FROM w
    UNION ALL SELECT 23, 'DROP FUNCTION {{keeper}}()' FROM w
    -- Default, sequence, identity.
    UNION ALL SELECT 30, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} SET DEFAULT %s', pg_get_expr(adbin, adrelid)) FROM w JOIN pg_attrdef ON adrelid = tab AND adnum = old
    UNION ALL SELECT 31, format('ALTER SEQUENCE %s OWNED BY {{t}}.{{n}}', oid::regclass) FROM q WHERE deptype = 'a'
    UNION ALL SELECT DISTINCT 32, format('ALTER SEQUENCE %s AS bigint', oid::regclass) FROM q WHERE seqtypid <> 'int8'::regtype AND deptype <> 'i'
    UNION ALL SELECT 33, 'ALTER TABLE {{t}} ALTER COLUMN {{c}} DROP IDENTITY' FROM q WHERE deptype = 'i'
    UNION ALL SELECT 34, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s START %s INCREMENT %s MINVALUE %s %s CACHE %s %s)',
                                CASE identity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, oid::regclass, seqstart, seqincrement,
                                CASE WHEN seqmin IN (-2147483648, -32768) THEN -9223372036854775808 ELSE seqmin END,
                                CASE WHEN seqmax IN (2147483647, 32767) THEN '' ELSE 'MAXVALUE ' || seqmax END, seqcache,
                                CASE WHEN seqcycle THEN 'CYCLE' ELSE '' END) FROM w, q WHERE deptype = 'i'
    UNION ALL SELECT 35, format('SELECT setval(%L, current_setting(''widen.last_value'')::bigint, current_setting(''widen.is_called'')::boolean)', oid::regclass)
      FROM q WHERE deptype = 'i'
    UNION ALL SELECT DISTINCT 36, format('REVOKE ALL ON SEQUENCE %s FROM %s', q.oid::regclass, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END)
      FROM q, pg_default_acl, aclexplode(defaclacl) AS e WHERE deptype = 'i' AND defaclobjtype = 'S' AND e.grantee <> relowner
    UNION ALL SELECT 37, format('GRANT %s ON SEQUENCE %s TO %s%s', e.privilege_type, q.oid::regclass, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END,
                                CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM q, aclexplode(relacl) AS e WHERE deptype = 'i' AND e.grantee <> relowner
    UNION ALL SELECT 38, format('COMMENT ON SEQUENCE %s IS %L', oid::regclass, obj_description(oid, 'pg_class')) FROM q WHERE deptype = 'i' AND obj_description(oid, 'pg_class') IS NOT NULL
    -- Exactly the privileges of the old column; what describes it.
    UNION ALL SELECT DISTINCT 40, format('REVOKE ALL ({{n}}) ON {{t}} FROM %s CASCADE', {{grantee}}) FROM w, aclexplode(new_acl)
    UNION ALL SELECT 41, format('GRANT %s ({{n}}) ON {{t}} TO %s%s', privilege_type, {{grantee}},
                                CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM w, aclexplode(acl)
    UNION ALL SELECT 42, format('COMMENT ON COLUMN {{t}}.{{n}} IS %L', col_description(tab, old)) FROM w WHERE col_description(tab, old) IS NOT NULL
    UNION ALL SELECT 43, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} SET STATISTICS %s', target) FROM w WHERE target IS NOT NULL
    UNION ALL SELECT 44, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} SET (%s)', string_agg(setting, ', '))
      FROM w, unnest(settings) AS setting WHERE setting NOT LIKE 'pg_attver=%' HAVING count(*) > 0  -- PostgreSQL's own count of changes
    -- From here on the name means the wide column.
    UNION ALL SELECT 50, 'ALTER TABLE {{t}} RENAME COLUMN {{c}} TO {{aside}}' FROM w
    UNION ALL SELECT 51, 'ALTER TABLE {{t}} RENAME COLUMN {{n}} TO {{c}}' FROM w
    UNION ALL SELECT 60, concat(format('ALTER POLICY %I ON %s', polname, polrelid::regclass), ' USING (' || pg_get_expr(polqual, polrelid) || ')',
                                ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
      FROM w, pg_policy AS p WHERE EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_policy'::regclass AND objid = p.oid AND refobjid = tab AND refobjsubid = old)
    UNION ALL SELECT 61, 'CREATE OR REPLACE ' || substr(CASE WHEN narrowed THEN overlay(def PLACING ' ' FROM strpos(def, columns) FOR length(columns)) ELSE def END, 8) FROM g
    UNION ALL SELECT 62, format('ALTER TABLE {{t}} %s TRIGGER %I', CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
      FROM g WHERE tgenabled <> 'O'
    UNION ALL SELECT 63 + n, line FROM w JOIN pg_statistic_ext AS s ON stxrelid = tab JOIN pg_namespace AS space ON space.oid = stxnamespace AND EXISTS (
                  SELECT FROM pg_depend WHERE classid = 'pg_statistic_ext'::regclass AND objid = s.oid AND refobjid = tab AND refobjsubid = old), LATERAL (VALUES
              (0, format('DROP STATISTICS %I.%I', nspname, stxname)), (1, pg_get_statisticsobjdef(s.oid)),
              (2, format('COMMENT ON STATISTICS %I.%I IS %L', nspname, stxname, obj_description(s.oid, 'pg_statistic_ext'))),
              (3, format('ALTER STATISTICS %I.%I SET STATISTICS ', nspname, stxname) || nullif(stxstattarget, -1))) AS l (n, line)
    -- The twins get the names.
    UNION ALL SELECT 70, format('ALTER TABLE %I RENAME COLUMN {{n}} TO {{c}}', twin) FROM w, x WHERE old = ANY (indkey::int2[])
    UNION ALL SELECT 71, format('ALTER INDEX %I RENAME TO %I', twin, name) FROM x
    UNION ALL SELECT 72, format('ALTER TABLE {{t}} ADD CONSTRAINT %1$I %2$s USING INDEX %1$I%3$s%4$s', conname, CASE contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END,
                                CASE WHEN condeferrable THEN ' DEFERRABLE' ELSE '' END, CASE WHEN condeferred THEN ' INITIALLY DEFERRED' ELSE '' END) FROM x WHERE con IS NOT NULL
    UNION ALL SELECT 73, format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', conrelid::regclass, twin, conname) FROM k
    UNION ALL SELECT 74, format('ALTER TABLE {{t}} CLUSTER ON %I', name) FROM x WHERE indisclustered
    UNION ALL SELECT 75, format('ALTER TABLE {{t}} REPLICA IDENTITY USING INDEX %I', name) FROM x WHERE indisreplident
    UNION ALL SELECT 76, format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, rel, said) FROM (
                             SELECT conname, conrelid::regclass AS rel, obj_description(oid, 'pg_constraint') AS said FROM k
                             UNION ALL SELECT conname, indrelid::regclass, obj_description(con, 'pg_constraint') FROM x) AS c WHERE said IS NOT NULL
    UNION ALL SELECT 77, format('COMMENT ON INDEX %I IS %L', name, obj_description(indexrelid, 'pg_class')) FROM x WHERE obj_description(indexrelid, 'pg_class') IS NOT NULL
    UNION ALL SELECT 90, 'ALTER TABLE {{t}} DROP COLUMN {{aside}}' FROM w
    UNION ALL SELECT 91, format('ALTER TABLE {{t}} RENAME CONSTRAINT %I TO %I', 'widened_' || md5(conname), conname) FROM n
) AS s (place, statement) WHERE statement IS NOT NULL ORDER BY place"""


# What holds the column and can be made neither beside it nor again, or would count columns that change places.
OBSTACLES = """
SELECT 1, CASE WHEN a.attnum IS NULL THEN 'there is no column {{table}}.{{column}} here: run alembic upgrade head first'
               WHEN a.atttypid NOT IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
               THEN format('{{table}}.{{column}} is %s, not an integer: it cannot be widened', format_type(a.atttypid, a.atttypmod))
               WHEN a.atttypid <> 'int8'::regtype AND (relkind <> 'r' OR relispartition OR reloftype <> 0 OR a.attinhcount > 0 OR relhassubclass AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid))
               THEN 'table {{table}} is partitioned, of a type, or has children or parents; in a quiet hour, for who uses it waits about 10 s for a million rows: run ALTER TABLE {{t}} ALTER COLUMN {{c}} TYPE bigint;'
               END
  FROM (VALUES (to_regclass({{'t'}}))) AS t (oid) LEFT JOIN pg_class AS c ON c.oid = t.oid
  LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = {{'column'}} AND a.attnum > 0
UNION ALL
SELECT 2, format('role %1$s does not own table %2$s: do this as its owner, or as an administrator: run GRANT %3$s TO %1$s;', quote_ident(current_user), c.oid::regclass, quote_ident(relowner::regrole::text))
  FROM {{w}} AS w JOIN pg_class AS c ON c.oid = tab OR c.oid IN (SELECT conrelid FROM ({{constraints}}) AS k)
       OR c.oid IN (SELECT p.polrelid FROM pg_policy AS p JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refobjid = tab AND d.refobjsubid = old)
 WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT DISTINCT 3, format('role %1$s does not own sequence %2$s; as an administrator: run GRANT %3$s TO %1$s;', quote_ident(current_user), oid::regclass, quote_ident(relowner::regrole::text))
  FROM ({{sequences}}) AS q WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT 4, format('role %1$s may not make temporary tables: run GRANT TEMPORARY ON DATABASE %2$I TO %1$s;', quote_ident(current_user), current_database())
  FROM {{w}} AS w WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
UNION ALL
SELECT 5, 'row level security of {{table}} hides rows from its owner; take it off, and force it again afterwards: run ALTER TABLE {{t}} NO FORCE ROW LEVEL SECURITY;'
  FROM {{w}} AS w JOIN pg_class ON oid = tab WHERE relforcerowsecurity
UNION ALL
SELECT 6, 'column {{table}}.{{wide}} is there, and is not of this command: run ALTER TABLE {{t}} RENAME COLUMN {{n}} TO {{column}}_old_attempt;'
  FROM {{w}} AS w WHERE new IS NOT NULL AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tab AND tgname = {{'kept'}})
UNION ALL
SELECT 7, format('rule %1$I rewrites statements on {{table}}: run DROP RULE %1$I ON {{t}};', rulename) FROM {{w}} AS w JOIN pg_rewrite ON ev_class = tab
UNION ALL
SELECT 8, format('trigger %1$I %2$s, and cannot be moved; drop it, and create it again afterwards (%3$s): run DROP TRIGGER %1$I ON {{t}};', tgname,
                 CASE WHEN tgconstraint <> 0 THEN 'is a constraint trigger' ELSE 'has transition tables' END, replace(pg_get_triggerdef(g.oid), E'\\n', ' '))
  FROM {{w}} AS w JOIN pg_trigger AS g ON tgrelid = tab AND NOT tgisinternal AND tgname <> {{'kept'}}
 WHERE tgtype & 16 > 0 AND tgattr::text = '' AND (tgconstraint <> 0 OR tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)
    OR tgconstraint <> 0 AND EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND objid = g.oid AND refobjid = tab AND refobjsubid = old)
UNION ALL
SELECT 9, format('function %s counts the columns of {{table}}, of which {{column}} becomes the last: name them in its INSERT, or drop the trigger: run DROP TRIGGER %I ON {{t}};', tgfoid::regprocedure, tgname)
  FROM {{w}} AS w JOIN pg_trigger ON tgrelid = tab AND NOT tgisinternal JOIN pg_proc AS p ON p.oid = tgfoid
 WHERE prosrc ~* '\\minsert\\s+into\\s+[^\\s(]+\\s+(values\\s*\\(|select\\M)([^;]*,)?\\s*\\(?(new|old)\\)?\\s*\\.\\s*\\*'
UNION ALL
SELECT 10, format('function %1$s inserts into {{table}} without naming the columns, of which {{column}} becomes the last; name them, or drop it: run DROP FUNCTION %1$s;', p.oid::regprocedure)
  FROM {{w}} AS w, pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
 WHERE lanname IN ('sql', 'plpgsql') AND prosrc ~* ('\\minsert\\s+into\\s+([^\\s(.]+\\.)?"?' || {{'table'}} || '"?\\s+(values|select|overriding|default\\s+values\\M.)')
UNION ALL
SELECT 12 - depth / 100.0, format('%1$s %2$s names {{table}}.{{column}}, and cannot be moved; drop it, and create it again afterwards (%4$s): run DROP %3$s %2$s;',
                               lower(kind), v::regclass, kind, btrim(regexp_replace(pg_get_viewdef(v), '\\s+', ' ', 'g'), ' ;'))
  FROM (
    WITH RECURSIVE reading (v, depth) AS (
        SELECT ev_class, 1 FROM {{w}} AS w JOIN pg_depend AS d ON d.refobjid = tab AND d.refobjsubid = old AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_rewrite AS r ON r.oid = d.objid AND ev_class <> tab
        UNION SELECT r.ev_class, depth + 1 FROM reading JOIN pg_depend AS d ON d.refobjid = v AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_rewrite AS r ON r.oid = d.objid AND ev_class <> v)
    SELECT v, max(depth) AS depth, CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind FROM reading JOIN pg_class ON oid = v GROUP BY v, relkind) AS views
UNION ALL
SELECT 12, format('%s holds {{table}}.{{column}}, and cannot be moved; drop it, and make it again afterwards: run %s;', pg_describe_object(d.classid, d.objid, d.objsubid),
                  CASE d.classid WHEN 'pg_attrdef'::regclass THEN format('ALTER TABLE {{t}} DROP COLUMN %I', (SELECT attname FROM pg_attrdef AS f JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE f.oid = d.objid))
                                 WHEN 'pg_proc'::regclass THEN 'DROP FUNCTION ' || d.objid::regprocedure
                                 WHEN 'pg_publication_rel'::regclass THEN (SELECT format('ALTER PUBLICATION %I DROP TABLE {{t}}', pubname) FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = prpubid WHERE r.oid = d.objid)
                                 WHEN 'pg_constraint'::regclass THEN (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint WHERE oid = d.objid)
                                 ELSE 'DROP for it' END)
  FROM {{w}} AS w JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = tab AND d.refobjsubid = old
  LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid
  LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid
 WHERE d.classid NOT IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_statistic_ext'::regclass)
   AND NOT (d.classid = 'pg_class'::regclass)
   AND (def.oid IS NULL OR (def.adrelid, def.adnum) <> (tab, old))
   AND (con.oid IS NULL OR contype = 'x'
        OR contype = 'f' AND ((SELECT relkind FROM pg_class WHERE oid = conrelid) <> 'r' OR conrelid = tab AND old = ANY (confdelsetcols)))
UNION ALL
SELECT 13 - CASE WHEN relkind IN ('i', 'I') THEN 0.5 ELSE depth / 1000.0 END, CASE WHEN relkind = 'm' THEN format('materialized view %1$s holds rows of {{table}} as one value, which would lose {{column}}; create it again afterwards: run DROP MATERIALIZED VIEW %1$s;', attrelid::regclass)
                WHEN relkind IN ('i', 'I') THEN format('index %1$s holds rows of {{table}} as one value, which would lose {{column}}; create it again afterwards: run DROP INDEX %1$s;', attrelid::regclass)
                ELSE format('column %1$s.%2$I holds rows of {{table}} as one value, which would lose {{column}}: run ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I);', attrelid::regclass, attname) END
  FROM (
    WITH RECURSIVE holding (typ, depth) AS (  -- arrays, domains, ranges and row types, each of another one too
        SELECT reltype, 1 FROM {{w}} AS w JOIN pg_class ON oid = tab
        UNION
        SELECT next.typ, depth + 1 FROM holding CROSS JOIN LATERAL (
            SELECT typarray FROM pg_type WHERE oid = holding.typ AND typarray <> 0
            UNION ALL SELECT oid FROM pg_type WHERE typbasetype = holding.typ
            UNION ALL SELECT unnest(ARRAY[rngtypid, rngmultitypid]) FROM pg_range WHERE rngsubtype = holding.typ
            UNION ALL SELECT reltype FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE atttypid = holding.typ AND NOT attisdropped AND reltype <> 0
        ) AS next (typ))
    SELECT attrelid, attname, relkind, depth FROM (SELECT typ, max(depth) AS depth FROM holding GROUP BY typ) AS types
      JOIN pg_attribute ON atttypid = typ JOIN pg_class ON pg_class.oid = attrelid
     WHERE relkind IN ('r', 'p', 'm', 'i', 'I') AND NOT relispartition AND NOT attisdropped) AS held
UNION ALL
SELECT 14, format('constraint %1$I of {{table}} was never validated, and a row that breaks it cannot be copied; validate it, or drop it and add it again afterwards (%2$s): run ALTER TABLE {{t}} DROP CONSTRAINT %1$I;', conname, pg_get_constraintdef(con.oid))
  FROM {{w}} AS w JOIN pg_constraint AS con ON conrelid = tab AND contype = 'c' AND NOT convalidated AND conname <> {{'kept'}} AND left(conname, 8) <> 'widened_'"""

# What holds the column is made on an empty copy of its table in which the column is wide, and is gone again at the end.
# The copy has its table's name: what PostgreSQL wrote down before means the copy.
TRIAL = """DO $trial$
DECLARE
    held jsonb := (
        WITH w AS (SELECT * FROM {{w}} AS w), x AS ({{indexes}}), k AS ({{constraints}})
        SELECT jsonb_agg(jsonb_build_object('named', named, 'made', made, 'dropped', dropped, 'tab', relname, 'place', nspname)) FROM (
            SELECT format('index %s', indexrelid::regclass), replace(pg_get_indexdef(indexrelid), format(' INDEX %I ON %I.%I USING ', name, nspname, relname), format(' INDEX ON pg_temp.%I USING ', relname)),
                   CASE WHEN con IS NULL THEN format('DROP INDEX %s', indexrelid::regclass) ELSE format('ALTER TABLE {{t}} DROP CONSTRAINT %I', conname) END, indrelid
              FROM x JOIN pg_class AS t ON t.oid = indrelid JOIN pg_namespace AS n ON n.oid = relnamespace
            UNION ALL
            SELECT format('constraint %I', conname), format('ALTER TABLE pg_temp.{{t}} ADD %s', replace(pg_get_constraintdef(oid), ' NOT VALID', '')), format('ALTER TABLE {{t}} DROP CONSTRAINT %I', conname), conrelid
              FROM k WHERE contype = 'c'
            UNION ALL
            SELECT format('policy %I on %s', polname, polrelid::regclass), concat(format('CREATE POLICY %I ON pg_temp.%I', polname, relname), ' USING (' || pg_get_expr(polqual, polrelid) || ')', ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')'),
                   format('DROP POLICY %I ON %s', polname, polrelid::regclass), polrelid
              FROM w JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.refobjid = tab AND d.refobjsubid = old JOIN pg_policy AS p ON p.oid = d.objid JOIN pg_class AS t ON t.oid = polrelid
            UNION ALL
            SELECT format('trigger %I', tgname), replace(pg_get_triggerdef(g.oid), format(' ON %I.%I ', nspname, relname), format(' ON pg_temp.%I ', relname)), format('DROP TRIGGER %I ON {{t}}', tgname), tgrelid
              FROM w JOIN pg_trigger AS g ON tgrelid = tab AND tgqual IS NOT NULL AND NOT tgisinternal JOIN pg_class AS t ON t.oid = tgrelid JOIN pg_namespace AS n ON n.oid = relnamespace
            UNION ALL
            SELECT format('statistics %I.%I', nspname, stxname), replace(pg_get_statisticsobjdef(s.oid), format('CREATE STATISTICS %I.%I ', nspname, stxname), format('CREATE STATISTICS pg_temp.%I ', stxname)), format('DROP STATISTICS %I.%I', nspname, stxname), stxrelid
              FROM w JOIN pg_statistic_ext AS s ON stxrelid = tab JOIN pg_namespace AS n ON n.oid = stxnamespace
        ) AS h (named, made, dropped, relid) JOIN pg_class AS c ON c.oid = relid JOIN pg_namespace AS n ON n.oid = relnamespace);
    functions jsonb := (
        SELECT jsonb_agg(jsonb_build_object('named', p.oid::regprocedure, 'made', 'CREATE FUNCTION pg_temp.widen_trial(' || regexp_replace(
                   substr(pg_get_functiondef(p.oid), length(format('CREATE OR REPLACE FUNCTION %I.%I(', nspname, proname)) + 1),
                   format('(\\m%s|"%1$s")\\.("?%s\\M"?)', current_schema(), {{'table'}}), 'pg_temp.\\2', 'g')))
          FROM {{w}} AS w JOIN pg_class AS c ON c.oid = tab JOIN pg_type AS t ON t.oid = reltype CROSS JOIN pg_proc AS p
          JOIN pg_namespace AS n ON n.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
         WHERE lanname = 'sql' AND prokind = 'f' AND prosqlbody IS NULL AND nspname !~ '^(pg_|information_schema$)'
           AND (prosrc ~* ('\\m' || {{'table'}} || '\\M') OR prorettype IN (t.oid, t.typarray)));
    works jsonb := '[]';
    one record;
    said text[] := '{}';
BEGIN
    IF held IS NOT NULL OR functions IS NOT NULL THEN
        BEGIN
            CREATE TEMPORARY TABLE {{t}} (LIKE {{t}});
            FOR one IN SELECT * FROM jsonb_to_recordset(functions) AS f (named text, made text) LOOP
                BEGIN
                    EXECUTE one.made;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN works := works || to_jsonb(one);
                          WHEN OTHERS THEN NULL;  -- it fails already
                END;
            END LOOP;
            ALTER TABLE pg_temp.{{t}} ALTER COLUMN {{c}} TYPE bigint;
            FOR one IN SELECT * FROM jsonb_to_recordset(held) AS h (named text, made text, dropped text, tab text, place text) LOOP
                EXECUTE format('CREATE TEMPORARY TABLE IF NOT EXISTS %I (LIKE %I.%1$I)', one.tab, one.place);
                BEGIN
                    EXECUTE one.made;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('%s cannot be made where {{table}}.{{column}} is a bigint (%s); keep its definition, and create one that takes a bigint afterwards: run %s;', one.named, SQLERRM, one.dropped);
                END;
            END LOOP;
            -- SQL functions see where the column is then: at the end.
            ALTER TABLE pg_temp.{{t}} DROP COLUMN {{c}} CASCADE;
            ALTER TABLE pg_temp.{{t}} ADD COLUMN {{c}} bigint;
            FOR one IN SELECT * FROM jsonb_to_recordset(works) AS f (named text, made text) LOOP
                BEGIN
                    EXECUTE one.made;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN NULL;
                          WHEN OTHERS THEN
                    said := said || format('function %s would fail where {{table}}.{{column}} is a bigint and the last column (%s); let it name the columns, or drop it, and create it again afterwards: run DROP FUNCTION %1$s;', one.named, SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('widen.trial_:trial:', said::text, false);
END $trial$"""

NOTICES = """
SELECT 1, format('{{table}}.{{column}}: about %s rows are written anew, which takes about %s min and, for as long as it runs, up to %s more on disk; {{column}} becomes the last column of {{table}}',
                 to_char(greatest(reltuples, 0), 'FM999,999,999,990'), ceil(greatest(reltuples, 1) / 600000), pg_size_pretty(pg_total_relation_size(tab)))
  FROM {{w}} AS w JOIN pg_class ON oid = tab
UNION ALL
SELECT DISTINCT 2, format('{{table}}.{{column}}: %s.%I, which refers to it, is %s: widen it too before ids reach %s', conrelid::regclass, attname, format_type(atttypid, NULL),
                          CASE atttypid WHEN 'int2'::regtype THEN '32,767' ELSE '2,147,483,647' END)
  FROM {{w}} AS w JOIN pg_constraint ON contype = 'f' AND confrelid = tab AND conparentid = 0
  JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[array_position(confkey, old)] WHERE atttypid IN ('int4'::regtype, 'int2'::regtype)
UNION ALL
SELECT 3, format('{{table}}.{{column}}: look at function %s, which reads {{table}} and returns integers: a bigint does not fit RETURN QUERY', p.oid::regprocedure)
  FROM {{w}} AS w, pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
 WHERE lanname = 'plpgsql' AND prosrc ~* ('\\m' || {{'table'}} || '\\M') AND prosrc ~* 'return\\s+query'
   AND ('int4'::regtype = ANY (proallargtypes) OR prorettype = 'int4'::regtype)
UNION ALL
SELECT 4, format('{{table}}.{{column}}: look at function %s, which takes rows of {{table}} apart: {{column}} becomes the last column, and a list of columns for a whole row goes by place', p.oid::regprocedure)
  FROM {{w}} AS w JOIN pg_class AS c ON c.oid = tab JOIN pg_type AS t ON t.oid = reltype CROSS JOIN pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
 WHERE lanname NOT IN ('sql', 'c', 'internal') AND prorettype <> 'trigger'::regtype
   AND (prorettype IN (t.oid, t.typarray) OR prosrc ~* ('\\m(?!(from|join|into|update|table|only|delete|insert)\\M)\\w+\\s+(\\w+\\.)?"?' || {{'table'}} || '"?\\s*(%\\s*rowtype\\s*)?(;|:=|=|\\mdefault\\M)'))
UNION ALL
SELECT 5, format('{{table}}.{{column}}: publication %s sends {{table}}: a subscriber''s table needs the column {{wide}} bigint before, and the swap of names after', pubname)
  FROM pg_publication_tables WHERE to_regclass(format('%I.%I', schemaname, tablename)) IN (SELECT tab FROM {{w}} AS w)"""

PARTS = {"indexes": HOLDING_INDEXES, "constraints": HOLDING_CONSTRAINTS, "sequences": SEQUENCES, "w": COLUMN}
"""Queries that others are made of."""
