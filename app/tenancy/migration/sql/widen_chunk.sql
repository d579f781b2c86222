-- Copy the pages from first to last. By pages, not by key: it needs no index, a page that is done costs nothing to pass
-- again, and what other transactions have locked is passed over and asked for again. A row written meanwhile has its
-- value from the trigger.
-- More inputs: pages, how many one transaction copies; first and last; wait, in seconds; gave_up and blocker, the sentence
-- about a lock that was not to be had, and the SQL expression for its %.
-- Inputs of `Widening.fill`: blocker, c, first, gave_up, last, n, pages, t, wait.
DO $copy$
DECLARE
    page bigint := {{first}};
    since timestamptz;
    give_up_at timestamptz;
    low tid;
    high tid;
BEGIN
    WHILE page < {{last}} LOOP
        low := format('(%s,0)', page)::tid;
        high := format('(%s,0)', least(page + {{pages}}, {{last}}))::tid;
        give_up_at := clock_timestamp() + interval '{{wait}} s';
        LOOP
            since := clock_timestamp();
            UPDATE {{t}} SET {{n}} = {{c}} WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {{t}} WHERE ctid >= low AND ctid < high AND {{n}} IS DISTINCT FROM {{c}} FOR NO KEY UPDATE SKIP LOCKED));
            COMMIT;
            PERFORM pg_sleep(least(extract(epoch FROM clock_timestamp() - since) / 2, 0.5));
            EXIT WHEN NOT EXISTS (SELECT FROM {{t}} WHERE ctid >= low AND ctid < high AND {{n}} IS DISTINCT FROM {{c}});
            IF clock_timestamp() >= give_up_at THEN
                RAISE EXCEPTION '{{gave_up}}', {{blocker}} USING ERRCODE = 'lock_not_available';
            END IF;
            PERFORM pg_sleep(0.1);
        END LOOP;
        page := page + {{pages}};
    END LOOP;
END $copy$
