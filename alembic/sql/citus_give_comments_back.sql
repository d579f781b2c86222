-- Run the statements of citus_comments.sql. Input: comments, the table that keeps them.
DO $comments$
DECLARE
    comment text;
BEGIN
    FOR comment IN SELECT statement FROM {{comments}} LOOP
        BEGIN
            EXECUTE comment;
        EXCEPTION WHEN undefined_object OR undefined_table OR undefined_column THEN
            NULL;  -- dropped by somebody in between
        END;
    END LOOP;
END $comments$
