package warehouse

// catalogMacros are the functions of pg_catalog that the engine has not, or has with
// another meaning. %[1]s is the schema, %[2]s the version, %[3]s the user, %[4]s the tables
// visible without a schema, %[5]s the process and %[6]s the session's settings.
const catalogMacros = `
CREATE MACRO %[1]s.version() AS %[2]s;
CREATE MACRO %[1]s.current_user() AS %[3]s;
CREATE MACRO %[1]s.session_user() AS %[3]s;
CREATE MACRO %[1]s."user"() AS %[3]s;
CREATE MACRO %[1]s.getdate() AS current_timestamp::TIMESTAMP;
CREATE MACRO %[1]s.sluice_similar_pattern(p) AS '(?s)^(?:' || replace(replace(regexp_replace(regexp_replace(p, '([.^$])', '\\\1', 'g'), '\((\?:)?', '(?:', 'g'), '%', '.*'), '_', '.') || ')$';
CREATE MACRO %[1]s.sluice_extract_second(x) AS CAST(CAST(date_part('microsecond', x) AS DECIMAL(12, 0)) * 0.000001 AS DECIMAL(18, 6));
CREATE MACRO %[1]s.sluice_extract_millisecond(x) AS CAST(CAST(date_part('microsecond', x) AS DECIMAL(12, 0)) * 0.001 AS DECIMAL(18, 3));
CREATE MACRO %[1]s.sluice_extract_epoch(x) AS CAST(date_part('epoch', x) AS DECIMAL(24, 6));
CREATE MACRO %[1]s.sluice_part_second(x) AS date_part('microsecond', x) / 1e6::DOUBLE;
CREATE MACRO %[1]s.sluice_part_millisecond(x) AS date_part('microsecond', x) / 1e3::DOUBLE;
CREATE MACRO %[1]s.format(f) AS printf(f), (f, a) AS printf(f, coalesce(a::VARCHAR, '')), (f, a, b) AS printf(f, coalesce(a::VARCHAR, ''), coalesce(b::VARCHAR, '')),
	(f, a, b, c) AS printf(f, coalesce(a::VARCHAR, ''), coalesce(b::VARCHAR, ''), coalesce(c::VARCHAR, '')),
	(f, a, b, c, d) AS printf(f, coalesce(a::VARCHAR, ''), coalesce(b::VARCHAR, ''), coalesce(c::VARCHAR, ''), coalesce(d::VARCHAR, ''));
CREATE MACRO %[1]s.nvl(a, b) AS coalesce(a, b);
CREATE MACRO %[1]s.dateadd(part, n, d) AS d + CAST(n || ' ' || part AS INTERVAL);
CREATE MACRO %[1]s.regexp_full_match(a, b) AS regexp_matches(a, b);
CREATE MACRO %[1]s."~*"(a, b) AS regexp_matches(a, b, 'i');
CREATE MACRO %[1]s."!~*"(a, b) AS NOT regexp_matches(a, b, 'i');
CREATE MACRO %[1]s.pg_get_function_result(f) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_get_function_arguments(f) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_get_userbyid(o) AS %[3]s;
CREATE MACRO %[1]s.pg_encoding_to_char(e) AS 'UTF8';
CREATE MACRO %[1]s.pg_table_is_visible(o) AS list_contains(%[4]s, o);
CREATE MACRO %[1]s.pg_type_is_visible(o) AS true;
CREATE MACRO %[1]s.pg_function_is_visible(o) AS true;
CREATE MACRO %[1]s.pg_get_expr(e, r) AS CAST(NULL AS VARCHAR), (e, r, p) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_get_indexdef(i) AS CAST(NULL AS VARCHAR), (i, c, p) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_get_constraintdef(c) AS CAST(NULL AS VARCHAR), (c, p) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_get_viewdef(v) AS CAST(NULL AS VARCHAR), (v, p) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_get_triggerdef(t) AS CAST(NULL AS VARCHAR), (t, p) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.obj_description(o) AS CAST(NULL AS VARCHAR), (o, c) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.shobj_description(o, c) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.col_description(t, c) AS CAST(NULL AS VARCHAR);
CREATE MACRO %[1]s.pg_total_relation_size(o) AS CAST(NULL AS BIGINT);
CREATE MACRO %[1]s.pg_relation_size(o) AS CAST(NULL AS BIGINT);
CREATE MACRO %[1]s.has_schema_privilege(s, p) AS true, (u, s, p) AS true;
CREATE MACRO %[1]s.has_table_privilege(t, p) AS true, (u, t, p) AS true;
CREATE MACRO %[1]s.has_database_privilege(d, p) AS true, (u, d, p) AS true;
CREATE MACRO %[1]s.pg_backend_pid() AS %[5]s;
CREATE MACRO %[1]s.pg_advisory_unlock_all() AS '';
CREATE MACRO %[1]s.sluice_current_setting(n) AS coalesce(map_extract_value(%[6]s, lower(n)), error('unrecognized configuration parameter "' || n || '"')),
	(n, missing) AS coalesce(map_extract_value(%[6]s, lower(n)), CASE WHEN missing THEN NULL ELSE error('unrecognized configuration parameter "' || n || '"') END);
CREATE MACRO %[1]s.pg_is_in_recovery() AS false;
CREATE MACRO %[1]s.quote_ident(s) AS CASE WHEN regexp_full_match(s, '[a-z_][a-z0-9_$]*') THEN s ELSE '"' || replace(s, '"', '""') || '"' END;
CREATE MACRO %[1]s.array_to_string(a, s) AS list_aggregate(a::VARCHAR[], 'string_agg', s), (a, s, n) AS list_aggregate(list_transform(a::VARCHAR[], lambda x: coalesce(x, n)), 'string_agg', s);
CREATE MACRO %[1]s.initcap(s) AS list_aggregate(list_transform(regexp_extract_all(s, '[[:alnum:]]+|[^[:alnum:]]+'), lambda x: upper(x[1]) || lower(x[2:])), 'string_agg', '');
CREATE MACRO %[1]s.lpad(s, n) AS system.main.lpad(s, n::INTEGER, ' '), (s, n, f) AS system.main.lpad(s, n::INTEGER, f);
CREATE MACRO %[1]s.rpad(s, n) AS system.main.rpad(s, n::INTEGER, ' '), (s, n, f) AS system.main.rpad(s, n::INTEGER, f);
CREATE MACRO %[1]s.btrim(s) AS trim(s), (s, c) AS trim(s, c);
CREATE MACRO %[1]s.to_hex(n) AS lower(system.main.to_hex(n));
CREATE MACRO %[1]s.substr(s, a) AS system.main.substr(s, greatest(a, 1)), (s, a, n) AS system.main.substr(s, greatest(a, 1), greatest(a + n - greatest(a, 1), 0));
CREATE MACRO %[1]s.substring(s, a) AS system.main.substr(s, greatest(a, 1)), (s, a, n) AS system.main.substr(s, greatest(a, 1), greatest(a + n - greatest(a, 1), 0));
CREATE MACRO %[1]s.sluice_substring_pattern(s, p) AS CASE WHEN NOT regexp_matches(s, p) THEN NULL WHEN regexp_matches(p, '(^|[^\\])\((^|[^?])') THEN regexp_extract(s, p, 1) ELSE regexp_extract(s, p) END;
CREATE MACRO %[1]s.octet_length(x) AS length(hex(x)) // 2;
CREATE MACRO %[1]s.bit_length(x) AS length(hex(x)) * 4;
CREATE MACRO %[1]s.encode(x) AS system.main.encode(x), (x, f) AS CASE lower(f) WHEN 'hex' THEN lower(hex(x)) WHEN 'base64' THEN to_base64(x) ELSE error('unrecognized encoding: "' || f || '"') END;
CREATE MACRO %[1]s.decode(x) AS system.main.decode(x), (x, f) AS CASE lower(f) WHEN 'hex' THEN unhex(x) WHEN 'base64' THEN from_base64(x) ELSE error('unrecognized encoding: "' || f || '"') END;
CREATE MACRO %[1]s.sluice_overlay(s, r, a) AS left(s, a - 1) || r || s[a + length(r):], (s, r, a, n) AS left(s, a - 1) || r || s[a + n:];
CREATE MACRO %[1]s.quote_literal(s) AS '''' || replace(s::VARCHAR, '''', '''''') || '''';
CREATE MACRO %[1]s.div(a, b) AS a // b;
CREATE MACRO %[1]s.every(x) AS bool_and(x);
CREATE MACRO %[1]s.width_bucket(x, a, b, n) AS CASE WHEN x < a THEN 0 WHEN x >= b THEN n + 1 ELSE CAST(floor((x - a)::DOUBLE / (b - a) * n) AS INTEGER) + 1 END;
CREATE MACRO %[1]s.format_type(t, m) AS CASE t
	WHEN 16 THEN 'boolean' WHEN 17 THEN 'binary varying' WHEN 20 THEN 'bigint' WHEN 21 THEN 'smallint' WHEN 23 THEN 'integer'
	WHEN 25 THEN 'text' WHEN 114 THEN 'super' WHEN 700 THEN 'real' WHEN 701 THEN 'double precision'
	WHEN 1042 THEN 'character' || CASE WHEN m > 4 THEN '(' || (m - 4) || ')' ELSE '' END
	WHEN 1043 THEN 'character varying' || CASE WHEN m > 4 THEN '(' || (m - 4) || ')' ELSE '' END
	WHEN 1082 THEN 'date' WHEN 1083 THEN 'time without time zone' WHEN 1114 THEN 'timestamp without time zone'
	WHEN 1184 THEN 'timestamp with time zone' WHEN 1186 THEN 'interval'
	WHEN 1700 THEN 'numeric' || CASE WHEN m > 4 THEN '(' || ((m - 4) >> 16) || ',' || ((m - 4) & 65535) || ')' ELSE '' END
	WHEN 2950 THEN 'uuid' ELSE '???' END;
`
