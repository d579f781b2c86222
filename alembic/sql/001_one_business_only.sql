-- From here on until the columns are gone, nothing that the old schema cannot hold is written: the CHECK and the
-- AFTER triggers see a row as it is stored, whatever triggers of a team changed it.
DO $only$
BEGIN
    IF to_regprocedure(quote_ident(current_schema()) || '.single_business_only()') IS NULL THEN
        CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
        BEGIN
            RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
        END $function$;
    END IF;
    EXECUTE format('ALTER TABLE {{table}} ADD CONSTRAINT "{{one_business_only}}" CHECK (%s) NOT VALID',
                   concat($$business_id = '{{default}}'$$, ' AND length(whatsapp_id) <= ' || {{longest}}));
END $only$;
CREATE TRIGGER single_business_only AFTER INSERT ON {{table}} FOR EACH ROW
    WHEN (num_nonnulls({{new_values}}) > 0) EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_update AFTER UPDATE ON {{table}} FOR EACH ROW
    WHEN (({{new_values}}) IS DISTINCT FROM ({{old_values}})) EXECUTE FUNCTION single_business_only();
ALTER TABLE {{table}} ENABLE ALWAYS TRIGGER single_business_only, ENABLE ALWAYS TRIGGER single_business_update
