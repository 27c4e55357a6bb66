package warehouse

import (
	"slices"
	"strings"
)

// parser walks the tokens of one statement.
type parser struct {
	sql    string
	tokens []token
	at     int
}

// parse reads one statement. Queries are recognised and left to the engine's parser;
// what changes the catalogue or the session is parsed here.
func parse(sql string) (node, error) {
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	if n := len(tokens); n > 0 && tokens[n-1].is(";") {
		tokens = tokens[:n-1]
	}
	if len(tokens) == 0 {
		return nil, SyntaxError.new("the statement is empty")
	}
	if i := slices.IndexFunc(tokens, func(t token) bool { return t.is(";") }); i >= 0 {
		return nil, SyntaxError.at(tokens[i].start+1, "cannot insert multiple commands into a prepared statement")
	}
	p := &parser{sql: sql, tokens: tokens}
	n, err := p.statement()
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (p *parser) statement() (node, error) {
	first := p.tokens[0]
	if first.is("(") {
		return &query{body: first.start}, nil
	}
	if first.kind != tokenWord {
		return nil, p.unexpected()
	}
	switch first.text {
	case "select", "with", "values", "table", "from", "describe", "summarize":
		return &query{body: first.start}, nil
	case "explain":
		return p.explain()
	case "create":
		return p.create()
	case "drop":
		return p.drop()
	case "insert":
		return p.insert()
	case "update":
		return p.update()
	case "delete":
		return p.delete()
	case "truncate":
		p.at++
		p.take("table")
		name, err := p.objectName()
		return &truncate{name}, p.end(err)
	case "vacuum":
		p.at++
		p.takeAny("full", "sort", "delete", "reindex", "recluster")
		p.take("only")
		if p.done() {
			return nil, FeatureNotSupported.new("VACUUM needs the name of a table")
		}
		name, err := p.objectName()
		return &vacuum{name}, p.end(err)
	case "copy":
		return p.copyFrom()
	case "set":
		return p.set()
	case "reset":
		p.at++
		name, err := p.parameterName()
		return &setParameter{name: name}, p.end(err)
	case "show":
		p.at++
		name, err := p.parameterName()
		return &showParameter{name}, p.end(err)
	case "begin", "start":
		return p.control("BEGIN", "begin", "start", "transaction", "work", "isolation", "level", "read", "only", "write",
			"serializable", "committed", "uncommitted", "repeatable", "not", "deferrable", ",")
	case "commit", "end":
		return p.control("COMMIT", "commit", "end", "transaction", "work")
	case "rollback", "abort":
		return p.control("ROLLBACK", "rollback", "abort", "transaction", "work")
	case "discard":
		return p.control("DISCARD ALL", "discard", "all")
	case "close", "unlisten":
		// What clients send to a connection that goes back to their pool. There are no
		// cursors of SQL and no channels, so nothing is left open.
		if len(p.tokens) == 2 && (p.tokens[1].is("all") || p.tokens[1].is("*")) {
			return &control{map[string]string{"close": "CLOSE CURSOR ALL", "unlisten": "UNLISTEN"}[first.text]}, nil
		}
		return nil, FeatureNotSupported.at(first.start+1, "%s is not supported", strings.ToUpper(first.text))
	case "deallocate":
		return p.control("DEALLOCATE ALL", "deallocate", "prepare", "all")
	case "analyze", "analyse":
		return nil, FeatureNotSupported.at(1, "ANALYZE is not supported: statistics come from the Parquet files and are always current")
	case "call", "pragma", "attach", "detach", "install", "load", "export", "import", "checkpoint", "use", "prepare",
		"execute", "alter", "grant", "revoke", "lock", "declare", "fetch", "listen", "notify", "unload", "merge",
		"comment", "cancel", "pivot", "unpivot", "savepoint", "release", "do", "reindex", "cluster", "move":
		return nil, FeatureNotSupported.at(first.start+1, "%s is not supported", strings.ToUpper(first.text))
	}
	return nil, p.unexpected()
}

// explain is EXPLAIN, EXPLAIN ANALYZE and EXPLAIN (options) of a query.
func (p *parser) explain() (node, error) {
	p.at++
	analyze := p.takeAny("analyze", "analyse")
	p.take("verbose")
	if p.done() {
		return nil, p.unexpected()
	}
	t := p.peek()
	if t.kind == tokenWord && slices.Contains([]string{"select", "with", "values", "table", "from"}, t.text) {
		return &query{explain: true, analyze: analyze, body: t.start}, nil
	}
	return nil, FeatureNotSupported.at(t.start+1, "EXPLAIN is supported for queries only, without options in parentheses")
}

func (p *parser) control(verb string, words ...string) (node, error) {
	if err := p.isolation(); err != nil {
		return nil, err
	}
	for p.at = 0; !p.done(); p.at++ {
		if t := p.peek(); !slices.Contains(words, t.text) || t.kind != tokenWord && t.kind != tokenSymbol {
			return nil, p.unexpected()
		}
	}
	return &control{verb}, nil
}

// isolation refuses the levels that would not be given: each statement of a transaction
// reads what was committed when it began.
func (p *parser) isolation() error {
	for _, t := range p.tokens {
		if t.is("serializable") || t.is("repeatable") {
			return noIsolation(t.text).place(t.start + 1)
		}
	}
	return nil
}

func noIsolation(level string) *Problem {
	return FeatureNotSupported.new("the isolation level \"%s\" is not supported", level).hint("Transactions are READ COMMITTED.")
}

// set reads SET [SESSION | LOCAL] name {= | TO} value [, …] and its spellings with spaces.
func (p *parser) set() (node, error) {
	p.at++
	if p.peekIs("session") && p.aheadIs(1, "characteristics") || p.peekIs("transaction") {
		return &control{"SET"}, p.isolation()
	}
	if !p.aheadIs(1, "=") && !p.aheadIs(1, "to") {
		p.takeAny("session", "local")
	}
	if p.peekIs("time") && p.aheadIs(1, "zone") {
		p.at += 2
		value, err := p.parameterValue()
		return &setParameter{"timezone", value}, p.end(err)
	}
	if p.peekIs("names") {
		p.at++
		value, err := p.parameterValue()
		return &setParameter{"client_encoding", value}, p.end(err)
	}
	name, err := p.parameterName()
	if err != nil {
		return nil, err
	}
	if !p.takeAny("=", "to") {
		return nil, p.unexpected()
	}
	value, err := p.parameterValue()
	return &setParameter{name, value}, p.end(err)
}

func (p *parser) parameterName() (string, error) {
	if p.peekIs("time") && p.aheadIs(1, "zone") {
		p.at += 2
		return "timezone", nil
	}
	if p.peekIs("transaction") && p.aheadIs(1, "isolation") {
		p.at += 3
		return "transaction_isolation", nil
	}
	name, err := p.identifier()
	if err == nil && p.take(".") {
		var rest string
		rest, err = p.identifier()
		name += "." + rest
	}
	return name, err
}

// parameterValue reads the values up to the end; DEFAULT is nil.
func (p *parser) parameterValue() (*string, error) {
	var parts []string
	for {
		if p.done() {
			return nil, p.unexpected()
		}
		sign := ""
		if p.take("-") {
			sign = "-"
		}
		t := p.next()
		if t.kind == tokenSymbol || t.kind == tokenParameter {
			p.at--
			return nil, p.unexpected()
		}
		if t.is("default") && p.done() {
			return nil, nil
		}
		parts = append(parts, sign+t.text)
		if !p.take(",") {
			break
		}
	}
	value := strings.Join(parts, ", ")
	return &value, nil
}

// The small steps.

func (p *parser) done() bool  { return p.at >= len(p.tokens) }
func (p *parser) peek() token { return p.ahead(0) }

// ahead returns the token n places on, or a symbol that matches nothing.
func (p *parser) ahead(n int) token {
	if p.at+n < len(p.tokens) {
		return p.tokens[p.at+n]
	}
	return token{kind: tokenSymbol, start: len(p.sql), end: len(p.sql)}
}

func (p *parser) next() token {
	t := p.peek()
	p.at++
	return t
}

func (p *parser) peekIs(word string) bool         { return p.peek().is(word) }
func (p *parser) aheadIs(n int, word string) bool { return p.ahead(n).is(word) }

// take consumes the words when all of them come next.
func (p *parser) take(words ...string) bool {
	for i, w := range words {
		if !p.aheadIs(i, w) {
			return false
		}
	}
	p.at += len(words)
	return true
}

// takeAny consumes one of the words.
func (p *parser) takeAny(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return p.take(w) })
}

// expect consumes the words or fails.
func (p *parser) expect(words ...string) error {
	for _, w := range words {
		if !p.take(w) {
			return p.unexpected()
		}
	}
	return nil
}

// end passes err on, and fails when tokens are left.
func (p *parser) end(err error) error {
	if err == nil && !p.done() {
		return p.unexpected()
	}
	return err
}

func (p *parser) unexpected() error {
	t := p.peek()
	if p.done() {
		return SyntaxError.at(len(p.sql)+1, "syntax error at end of input")
	}
	return SyntaxError.at(t.start+1, "syntax error at or near \"%s\"", p.sql[t.start:t.end])
}

// identifier reads a name. Names are folded to lower case, quoted ones too, as Redshift does.
func (p *parser) identifier() (string, error) {
	t := p.peek()
	if t.kind != tokenWord && t.kind != tokenQuoted {
		return "", p.unexpected()
	}
	if len(t.text) > maxName {
		return "", SyntaxError.at(t.start+1, "a name is longer than %d bytes", maxName)
	}
	p.at++
	return strings.ToLower(t.text), nil
}

func (p *parser) str() (string, error) {
	if p.peek().kind != tokenString {
		return "", p.unexpected()
	}
	return p.next().text, nil
}

// objectName reads [[database.]schema.]name.
func (p *parser) objectName() (objectName, error) {
	n := objectName{position: p.peek().start + 1}
	var parts []string
	for {
		part, err := p.identifier()
		if err != nil {
			return n, err
		}
		if parts = append(parts, part); !p.take(".") {
			break
		}
	}
	if len(parts) == 3 && parts[0] == Database {
		parts = parts[1:]
	}
	switch len(parts) {
	case 1:
		n.name = parts[0]
	case 2:
		n.schema, n.name = parts[0], parts[1]
	default:
		return n, FeatureNotSupported.at(n.position, "cross-database references are not supported: %s", strings.Join(parts, "."))
	}
	return n, nil
}

// names reads (name, …).
func (p *parser) names() ([]string, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var out []string
	for {
		name, err := p.identifier()
		if err != nil {
			return nil, err
		}
		if out = append(out, name); p.take(")") {
			return out, nil
		}
		if err := p.expect(","); err != nil {
			return nil, err
		}
	}
}

// skipParens passes over one balanced group.
func (p *parser) skipParens() error {
	if err := p.expect("("); err != nil {
		return err
	}
	for depth := 1; depth > 0; p.at++ {
		switch {
		case p.done():
			return p.unexpected()
		case p.peekIs("("):
			depth++
		case p.peekIs(")"):
			depth--
		}
	}
	return nil
}
