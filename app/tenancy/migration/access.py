"""Who reaches the tables beside app_tenant and app_service: SQL that revisions, the drift check and repair share."""

from collections.abc import Iterable

from app.tenancy.migration.steps import literal

TENANT, SERVICE = "app_tenant", "app_service"
"""The two roles of this schema, whose policies have their names."""

PUBLIC_API = ("anon", "authenticated")
"""Supabase's roles for whoever has the public key."""

WATCHED = (TENANT, SERVICE, *PUBLIC_API)
"""Roles whose every privilege is compared, beside PUBLIC and the owner."""

SINGLE_BUSINESS = "single_business"
"""Name of the policy that shows former roles the default business."""

UNCONFINED_PRIVILEGES = ("TRUNCATE", "TRIGGER", "REFERENCES")
"""Privileges on a table that row level security does not confine; MAINTAIN neither shows nor changes a row."""


def listed(names: Iterable[str]) -> str:
    """The names as SQL string literals, for IN."""
    return ", ".join(map(literal, names))


OURS = listed((TENANT, SERVICE))
PUBLIC_ROLES = listed(PUBLIC_API)
UNCONFINED = listed(UNCONFINED_PRIVILEGES)
GRANTEE = "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END"
"""SQL expression: a `grantee` of aclexplode, as GRANT and REVOKE name it."""


def former_roles(table: str) -> str:
    """SQL query (role text, quoted where it must be): who held a privilege on the table before it knew businesses.

    Owner, superusers and BYPASSRLS are above row level security; app_tenant, app_service, anon, authenticated and
    PUBLIC have rules of their own. The predefined roles that read or write everything count where they have a member.
    """
    return f"""SELECT grantee::regrole::text AS role
  FROM ({acl(table)}) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ({OURS}, {PUBLIC_ROLES})
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass({literal(table)}) AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls"""


def acl(table: str) -> str:
    """SQL query (relowner, columns, grantor, grantee, privilege_type, is_grantable): the privileges on a table.

    `columns` is what follows the privilege in GRANT: empty, or a column in parentheses.
    """
    return f"""SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass({literal(table)})"""


def owned_sequences(table: str) -> str:
    """SQL query (oid): the sequences that belong to columns of the table."""
    return (
        "SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass "
        f"AND refobjid = to_regclass({literal(table)}) AND deptype IN ('a', 'i')"
    )


def held_on(table: str, sequences: str) -> str:
    """SQL query (kind, name, owner, acl): the table, its columns, and the sequences of a query (oid)."""
    return f"""SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass({literal(table)}) OR relkind = 'S' AND c.oid IN ({sequences})"""


def held_on_function(function: str) -> str:
    """SQL query (kind, name, owner, acl): the function, which has the types of its arguments in its name."""
    return (
        "SELECT 'FUNCTION' AS kind, oid::regprocedure::text AS name, proowner AS owner, "
        f"coalesce(proacl, acldefault('f', proowner)) AS acl FROM pg_proc WHERE oid = to_regprocedure({literal(function)})"
    )


def revoke_all(objects: str, when: str = "grantee <> owner") -> str:
    """SQL query of statements that take every privilege on some objects.

    Args:
        objects: SQL query (kind, name, owner, acl), such as `held_on` and `held_on_function`.
        when: SQL condition on a row of it and `grantee`: from whom.
    """
    return f"""SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, {GRANTEE})
  FROM ({objects}) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE {when}"""


def taken(table: str) -> str:
    """SQL condition on `acl` and pg_roles: the upgrade takes this privilege on a table that was there before."""
    return f"""(grantee = 0 OR rolname IN ({OURS}, {PUBLIC_ROLES})
        OR privilege_type IN ({UNCONFINED}) AND grantee <> relowner AND NOT rolsuper AND NOT rolbypassrls)"""


def take_from_former_roles(table: str) -> str:
    """SQL query of statements that leave each former role what row level security confines, and the rest nothing.

    What goes was perhaps granted by a role that held it WITH GRANT OPTION, and only falls with that option: the owner
    then grants anew what is to stay of that privilege.
    """
    return f"""WITH held AS (
    SELECT a.*, {taken(table)} AS taken, {GRANTEE} AS role
      FROM ({acl(table)}) AS a LEFT JOIN pg_roles ON pg_roles.oid = grantee)
SELECT statement FROM (
    SELECT 1, format('REVOKE GRANT OPTION FOR %s ON {table} FROM %s CASCADE', privilege_type, grantor::regrole)
      FROM held WHERE taken AND grantor <> relowner
    UNION SELECT 2, format('GRANT %s %s ON {table} TO %s', privilege_type, columns, role)
                    || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
      FROM held WHERE NOT taken AND (grantor <> relowner OR is_grantable)
       AND privilege_type IN (SELECT privilege_type FROM held WHERE taken AND grantor <> relowner)
    UNION SELECT 3, format('REVOKE %s %s ON {table} FROM %s CASCADE', privilege_type, columns, role)
      FROM held WHERE taken
    UNION SELECT 3, format('REVOKE ALL ON SEQUENCE %s FROM %s CASCADE', s.oid::regclass, {GRANTEE})
      FROM pg_depend JOIN pg_class AS s ON s.oid = objid AND relkind = 'S' CROSS JOIN LATERAL aclexplode(relacl)
      LEFT JOIN pg_roles ON pg_roles.oid = grantee
     WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass({literal(table)}) AND deptype IN ('a', 'i')
       AND (grantee = 0 OR rolname IN ({OURS}, {PUBLIC_ROLES}))
) AS s (stage, statement) ORDER BY stage, statement"""


def single_business_policy(table: str, business: str, restrictive: str) -> str:
    """SQL query of the statement that makes the policy of former roles; no row where there are none.

    Args:
        table: customers or conversations.
        business: id of the default business.
        restrictive: SQL condition: row level security was on before the upgrade, so that the team's own policies
            decide what a role sees of the default business.
    """
    condition = f"(business_id = {literal(business)})"
    return f"""SELECT format({literal(f"CREATE POLICY {SINGLE_BUSINESS} ON {table} AS %s TO %s USING {condition} WITH CHECK {condition}")},
              CASE WHEN {restrictive} THEN 'RESTRICTIVE' ELSE 'PERMISSIVE' END, string_agg(role, ', ' ORDER BY role))
  FROM ({former_roles(table)}) AS former HAVING count(*) > 0"""


def sequences(table: str) -> str:
    """SQL query (oid): the sequences that the table's defaults draw from, wherever they are and whoever owns them."""
    return f"""SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass({literal(table)})"""


def tenant_columns(table: str) -> str:
    """SQL query (attname, attnum): the columns of the table that a tenant may write.

    Not its id, nor any other column that the database numbers: one tenant could use up the numbers of all others.
    """
    return f"""SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass({literal(table)}) AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)"""


# --- several databases of one server ---------------------------------------------------------------------------------

USED_ELSEWHERE = f"""EXISTS (
    SELECT FROM pg_shdepend JOIN pg_database AS d ON d.oid = dbid
     WHERE refclassid = 'pg_authid'::regclass AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ({OURS}))
       AND datname <> current_database())"""
"""SQL condition: another database of the server uses app_tenant or app_service."""


def as_anyone(role: str, database: str) -> str:
    """SQL condition on oids: the role connects to the database only because anyone, or any member of ours, may."""
    entries = f"aclexplode(coalesce({database}.datacl, acldefault('d', {database}.datdba)))"
    return f"""{database}.datallowconn
   AND NOT pg_has_role({role}, {database}.datdba, 'MEMBER')
   AND EXISTS (SELECT FROM {entries} AS open LEFT JOIN pg_roles AS g ON g.oid = open.grantee
                WHERE open.privilege_type = 'CONNECT' AND coalesce(g.rolname IN ({OURS}), true))
   AND NOT EXISTS (SELECT FROM {entries} AS named JOIN pg_roles AS g ON g.oid = named.grantee
                    WHERE named.privilege_type = 'CONNECT' AND g.rolname NOT IN ({OURS})
                      AND pg_has_role({role}, g.oid, 'USAGE'))"""


def close_to_strangers(database: str, but: str) -> str:
    """SQL expression: the statements that close the database of that row to all who have no work there.

    Work has whoever owns something there or holds a privilege, reads everything by a predefined role, or is a member
    of app_tenant or app_service; `but` is an SQL condition on `who`, an oid, for those who are to stay outside.
    """
    return f"""concat(format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', {database}.datname),
       (SELECT string_agg(format(', %I', g.rolname), '') FROM aclexplode({database}.datacl) AS open
          JOIN pg_roles AS g ON g.oid = open.grantee WHERE open.privilege_type = 'CONNECT' AND g.rolname IN ({OURS})),
       (SELECT format('; GRANT CONNECT ON DATABASE %I TO %s', {database}.datname, string_agg(format('%I', rolname), ', ' ORDER BY rolname))
          FROM (SELECT pg_roles.oid AS who, rolname FROM pg_roles
                 WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname NOT IN ({OURS})
                   AND (EXISTS (SELECT FROM pg_shdepend WHERE dbid = {database}.oid AND refobjid = pg_roles.oid
                                   AND refclassid = 'pg_authid'::regclass)
                        OR rolcanlogin AND EXISTS (
                            SELECT FROM pg_roles AS g WHERE g.rolname IN ({OURS}, 'pg_read_all_data', 'pg_write_all_data')
                               AND pg_has_role(pg_roles.oid, g.oid, 'MEMBER')))) AS work
         WHERE NOT ({but}) HAVING count(*) > 0))"""


_HERE = "pg_has_role({role}, current_user, 'MEMBER') OR EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND pg_has_role({role}, relowner, 'MEMBER'))"


def strangers() -> str:
    """SQL query (role, database, closing): members of app_tenant or app_service who may connect here as anyone may.

    The roles belong to the whole server: without these, a member of another database's roles reads this one. `closing`
    holds the statements that keep them out and let go on whoever works here.
    """
    return f"""SELECT format('%I', member.rolname) AS role, format('%I', here.datname) AS database, {close_to_strangers("here", _as_stranger("who"))} AS closing
  FROM pg_database AS here, pg_roles AS member
 WHERE here.datname = current_database() AND {_as_stranger("member.oid")}"""


def _as_stranger(role: str) -> str:
    return f"""EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = {role} AND r.rolcanlogin AND NOT r.rolsuper AND r.rolname NOT IN ({OURS}))
   AND EXISTS (SELECT FROM pg_roles AS g WHERE g.rolname IN ({OURS}) AND pg_has_role({role}, g.oid, 'MEMBER'))
   AND NOT ({_HERE.format(role=role)}) AND {as_anyone(role, "here")}"""
