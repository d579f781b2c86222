-- From here on until the columns are gone, nothing that the old schema cannot hold is written.
CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
BEGIN
    RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
END $function$;
COMMENT ON FUNCTION single_business_only() IS '[]';
CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE ON customers FOR EACH ROW
    WHEN (NEW.business_id <> '{{default}}') EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_only BEFORE INSERT ON conversations FOR EACH ROW
    WHEN (NEW.business_id <> '{{default}}' OR num_nonnulls(NEW.whatsapp_number_id, NEW.whatsapp_message_id) > 0)
    EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_update BEFORE UPDATE ON conversations FOR EACH ROW
    WHEN (NEW.business_id <> '{{default}}' OR (NEW.whatsapp_number_id, NEW.whatsapp_message_id)
                                              IS DISTINCT FROM (OLD.whatsapp_number_id, OLD.whatsapp_message_id))
    EXECUTE FUNCTION single_business_only()
