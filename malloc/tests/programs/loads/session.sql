-- One session's work: sorts, hashes, aggregates, JSON, a function with many subtransactions.
SET work_mem = '32MB';
CREATE TEMP TABLE words AS SELECT i AS id, md5(i::text) AS word, repeat(md5((i * 7)::text), i % 10) AS long FROM generate_series(1, 60000) i;
ANALYZE words;
SELECT md5(string_agg(word, ',' ORDER BY long, id)) FROM words;
SELECT count(*) FROM words a JOIN words b ON left(a.word, 4) = right(b.word, 4);
SELECT left(word, 2), count(*), sum(length(long)) FROM words GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5;
SELECT md5(jsonb_agg(jsonb_build_object('id', id, 'words', regexp_split_to_array(word, '[a-c]')) ORDER BY id)::text) FROM words WHERE id < 30000;
DO $$
DECLARE text text := ''; parts text[] := '{}';
BEGIN
    FOR i IN 1 .. 4000 LOOP
        text := md5(text || i);
        parts := parts || text;
        BEGIN
            IF i % 10 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
        EXCEPTION WHEN OTHERS THEN text := text || '!';
        END;
    END LOOP;
END $$;
SELECT count(DISTINCT substr(long, 1, 20)) FROM words;
