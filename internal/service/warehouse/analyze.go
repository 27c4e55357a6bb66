package warehouse

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// analysis is what the engine's parser says of a query.
type analysis struct {
	tables    []reference
	strings   map[string]bool // every text in the tree, in lower case
	star      bool            // a * or something else that may stand for any column
	recursive bool            // a recursive WITH: its parts may run many times
}

// reference is one mention of a table.
type reference struct {
	objectName
	count int
}

// tableFunctions may stand in FROM. All others are refused: most read files, or tell
// what the engine knows of the machine.
var tableFunctions = []string{
	"range", "generate_series", "unnest", "generate_subscripts", "json_each", "json_tree", "repeat", "repeat_row",
	"regexp_split_to_table", "string_split", "jsonb_each",
}

// refusedFunctions must not stand in expressions.
var refusedFunctions = []string{
	"getenv", "getvariable", "nextval", "currval", "read_text", "read_blob", "query", "query_table", "write_log",
	"json_execute_serialized_sql", "json_serialize_sql", "json_deserialize_sql", "json_serialize_plan", "which_secret",
	"current_setting", "pg_read_file", "pg_sleep",
}

// analyze reads the engine's syntax tree of one SELECT, which sql is the text of.
func analyze(sql string, tree []byte) (*analysis, error) {
	var top struct {
		Error      bool              `json:"error"`
		Type       string            `json:"error_type"`
		Message    string            `json:"error_message"`
		Position   string            `json:"position"`
		Statements []json.RawMessage `json:"statements"`
	}
	if err := json.Unmarshal(tree, &top); err != nil {
		return nil, EngineError.wrap(err, "the engine's syntax tree cannot be read")
	}
	if top.Error {
		if top.Type == "not implemented" {
			return nil, FeatureNotSupported.new("this kind of statement is not supported")
		}
		return nil, SyntaxError.at(position(sql, top.Position), "%s", top.Message)
	}
	if len(top.Statements) != 1 {
		return nil, SyntaxError.new("one statement was expected, %d found", len(top.Statements))
	}
	var root any
	if err := json.Unmarshal(top.Statements[0], &root); err != nil {
		return nil, EngineError.wrap(err, "the engine's syntax tree cannot be read")
	}
	a := &analysis{strings: map[string]bool{}}
	if err := a.walk(root, nil); err != nil {
		return nil, err
	}
	return a, nil
}

// position turns the parser's offset, which counts characters, into a byte counted from
// 1; 0 is unknown. (Everywhere else the engine counts bytes.)
func position(sql, offset string) int {
	n, err := strconv.Atoi(offset)
	if err != nil || n < 0 {
		return 0
	}
	for i := range sql {
		if n == 0 {
			return i + 1
		}
		n--
	}
	return len(sql) + 1
}

// walk visits v; hidden are the names that WITH defines around it.
func (a *analysis) walk(v any, hidden []string) error {
	switch v := v.(type) {
	case string:
		a.strings[strings.ToLower(v)] = true
	case []any:
		for _, e := range v {
			if err := a.walk(e, hidden); err != nil {
				return err
			}
		}
	case map[string]any:
		return a.walkNode(v, hidden)
	}
	return nil
}

func (a *analysis) walkNode(n map[string]any, hidden []string) error {
	kind := text(n, "type")
	switch {
	case kind == "BASE_TABLE":
		if catalog := text(n, "catalog_name"); catalog != "" && catalog != Database {
			return FeatureNotSupported.at(location(n), "cross-database references are not supported: %s.%s.%s",
				catalog, text(n, "schema_name"), text(n, "table_name"))
		}
		a.refer(objectName{schema: strings.ToLower(text(n, "schema_name")), name: strings.ToLower(text(n, "table_name")), position: location(n)}, hidden)
	case kind == "TABLE_FUNCTION":
		f, _ := n["function"].(map[string]any)
		if name := strings.ToLower(text(f, "function_name")); !slices.Contains(tableFunctions, name) {
			return InsufficientPrivilege.at(location(n), "permission denied for table function %s", name)
		}
	case kind == "SHOW_REF":
		if text(n, "show_type") != "DESCRIBE" && text(n, "show_type") != "SUMMARY" || n["query"] == nil {
			return FeatureNotSupported.new("SHOW and DESCRIBE are supported for tables and queries only").hint("Ask information_schema.tables, or use \\d in psql.")
		}
		a.star = true
	case text(n, "class") == "FUNCTION":
		if name := strings.ToLower(text(n, "function_name")); slices.Contains(refusedFunctions, name) {
			return InsufficientPrivilege.at(location(n), "permission denied for function %s", name)
		}
	case kind == "RECURSIVE_CTE_NODE":
		a.recursive = true
	case text(n, "class") == "STAR" || kind == "COLUMNS" || text(n, "ref_type") == "NATURAL" || kind == "PIVOT":
		a.star = true
	}

	inner := hidden
	if ctes, ok := n["cte_map"].(map[string]any); ok {
		entries, _ := ctes["map"].([]any)
		for _, e := range entries {
			entry, _ := e.(map[string]any)
			name := strings.ToLower(text(entry, "key"))
			visible := inner
			if isRecursive(entry) {
				visible = append(slices.Clone(inner), name)
			}
			if err := a.walk(entry["value"], visible); err != nil {
				return err
			}
			inner = append(slices.Clone(inner), name)
		}
	}
	// The name of a recursive part is visible inside it under its own node as well.
	if kind == "RECURSIVE_CTE_NODE" {
		inner = append(slices.Clone(inner), strings.ToLower(text(n, "cte_name")))
	}
	for key, child := range n {
		if key == "cte_map" {
			continue
		}
		if err := a.walk(child, inner); err != nil {
			return err
		}
	}
	return nil
}

func isRecursive(entry map[string]any) bool {
	value, _ := entry["value"].(map[string]any)
	query, _ := value["query"].(map[string]any)
	node, _ := query["node"].(map[string]any)
	return text(node, "type") == "RECURSIVE_CTE_NODE"
}

func (a *analysis) refer(n objectName, hidden []string) {
	if n.schema == "" && slices.Contains(hidden, n.name) {
		return
	}
	for i := range a.tables {
		if t := &a.tables[i]; t.schema == n.schema && t.name == n.name {
			t.count++
			return
		}
	}
	a.tables = append(a.tables, reference{n, 1})
}

func text(n map[string]any, key string) string {
	s, _ := n[key].(string)
	return s
}

// location returns where a node stands, from 1.
func location(n map[string]any) int {
	if f, ok := n["query_location"].(float64); ok && f < 1<<31 {
		return int(f) + 1
	}
	return 0
}
