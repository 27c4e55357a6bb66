package expression

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// function is one entry of the table: what it is called with, and how often.
type function struct {
	subject     bool // it begins an expression
	least, most int  // arguments; most is -1 where there is no bound
	call        func(env Env, v any, args []any) (any, error)
}

// text makes a function of texts.
func text(n int, f func(s string, a []string) any) *function {
	return &function{least: n, most: n, call: func(_ Env, v any, args []any) (any, error) {
		a := make([]string, len(args))
		for i, x := range args {
			a[i] = asText(x)
		}
		return f(asText(v), a), nil
	}}
}

// test makes a function of texts that never holds for null.
func test(n int, f func(s string, a []string) bool) *function {
	t := text(n, func(s string, a []string) any { return f(s, a) })
	inner := t.call
	t.call = func(env Env, v any, args []any) (any, error) {
		if v == nil {
			return false, nil
		}
		return inner(env, v, args)
	}
	return t
}

// match makes a function of a regular expression, its first argument.
func match(n int, f func(re *regexp.Regexp, s string, a []string) any) *function {
	return &function{least: n, most: n, call: func(_ Env, v any, args []any) (any, error) {
		re, ok := args[0].(*regexp.Regexp)
		if !ok {
			var err error
			if re, err = regexp.Compile(asText(args[0])); err != nil {
				return nil, err
			}
		}
		a := make([]string, len(args))
		for i, x := range args[1:] {
			a[i+1] = asText(x)
		}
		return f(re, asText(v), a), nil
	}}
}

// patterned are the functions whose first argument is a regular expression.
var patterned = map[string]bool{"matches": true, "find": true, "replaceAll": true, "replaceFirst": true}

// prepare compiles a regular expression that is a constant, so that a wrong one is found when
// the template is parsed.
func prepare(c *call) error {
	if !patterned[c.name] {
		return nil
	}
	s, ok := c.args[0].value.(string)
	if !ok {
		return nil
	}
	if c.name == "matches" {
		s = `\A(?:` + s + `)\z`
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return Invalid.Wrap(err, "%q is no regular expression", brief(asText(c.args[0].value)))
	}
	c.args[0].value = re
	return nil
}

// groups writes a Java replacement, $1, as Go wants it, ${1}.
func groups(s string) string { return javaGroup.ReplaceAllString(s, `$${$1}`) }

var javaGroup = regexp.MustCompile(`\$(\d+)`)

// arithmetic makes a function of two numbers.
func arithmetic(ints func(a, b int64) (int64, error), floats func(a, b float64) float64) *function {
	return &function{least: 1, most: 1, call: func(_ Env, v any, args []any) (any, error) {
		if v == nil {
			return nil, nil //nolint:nilnil // null in, null out
		}
		a, err := number(v)
		if err != nil {
			return nil, err
		}
		b, err := number(args[0])
		if err != nil {
			return nil, err
		}
		x, whole := a.(int64)
		y, wholeToo := b.(int64)
		if whole && wholeToo {
			return ints(x, y)
		}
		return floats(float(a), float(b)), nil
	}}
}

// order makes a comparison of two numbers.
func order(holds func(a, b float64) bool) *function {
	return &function{least: 1, most: 1, call: func(_ Env, v any, args []any) (any, error) {
		if v == nil || args[0] == nil {
			return false, nil
		}
		a, err := number(v)
		if err != nil {
			return nil, err
		}
		b, err := number(args[0])
		if err != nil {
			return nil, err
		}
		return holds(float(a), float(b)), nil
	}}
}

var errNumber = errors.New("it is not a number")

// number is v as an int64 or a float64.
func number(v any) (any, error) {
	switch v := v.(type) {
	case int64, float64:
		return v, nil
	case time.Time:
		return v.UnixMilli(), nil
	case string:
		s := strings.TrimSpace(v)
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n, nil
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f, nil
		}
	}
	return nil, errNumber
}

func float(v any) float64 {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v.(float64)
}

func truth(v any) bool { return strings.EqualFold(asText(v), "true") }

var errZero = errors.New("division by zero")

func divided(f func(a, b int64) int64) func(a, b int64) (int64, error) {
	return func(a, b int64) (int64, error) {
		if b == 0 || b == -1 && a == -1<<63 {
			return 0, errZero
		}
		return f(a, b), nil
	}
}

func whole(f func(a, b int64) int64) func(a, b int64) (int64, error) {
	return func(a, b int64) (int64, error) { return f(a, b), nil }
}

// cut makes a function that cuts a text at the first or last sep; all of it where sep is not in it.
func cut(find func(s, sep string) int, before bool) *function {
	return text(1, func(s string, a []string) any {
		i := find(s, a[0])
		switch {
		case i < 0 || a[0] == "":
			return s
		case before:
			return s[:i]
		default:
			return s[i+len(a[0]):]
		}
	})
}

var functions = map[string]*function{
	// Subjects of their own.
	"now":      {subject: true, call: func(env Env, _ any, _ []any) (any, error) { return env.Clock.Now(), nil }},
	"UUID":     {subject: true, call: func(Env, any, []any) (any, error) { return newUUID(), nil }},
	"hostname": {subject: true, call: func(Env, any, []any) (any, error) { return hostname(), nil }},
	"literal":  {subject: true, least: 1, most: 1, call: func(_ Env, _ any, a []any) (any, error) { return a[0], nil }},

	// Texts.
	"toUpper":             text(0, func(s string, _ []string) any { return strings.ToUpper(s) }),
	"toLower":             text(0, func(s string, _ []string) any { return strings.ToLower(s) }),
	"trim":                text(0, func(s string, _ []string) any { return strings.TrimSpace(s) }),
	"toString":            text(0, func(s string, _ []string) any { return s }),
	"length":              text(0, func(s string, _ []string) any { return int64(utf8.RuneCountInString(s)) }),
	"append":              text(1, func(s string, a []string) any { return s + a[0] }),
	"prepend":             text(1, func(s string, a []string) any { return a[0] + s }),
	"substringBefore":     cut(strings.Index, true),
	"substringAfter":      cut(strings.Index, false),
	"substringBeforeLast": cut(strings.LastIndex, true),
	"substringAfterLast":  cut(strings.LastIndex, false),
	"replace":             {least: 2, most: 2, call: replace},
	"substring":           {least: 1, most: 2, call: substring},
	"base64Encode":        text(0, func(s string, _ []string) any { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"base64Decode":        {call: base64Decode},
	"urlEncode":           text(0, func(s string, _ []string) any { return url.QueryEscape(s) }),
	"escapeJson":          text(0, func(s string, _ []string) any { return escapeJSON(s) }),
	"replaceNull":         {least: 1, most: 1, call: func(_ Env, v any, a []any) (any, error) { return either(v == nil, a[0], v), nil }},
	"replaceEmpty": {least: 1, most: 1, call: func(_ Env, v any, a []any) (any, error) {
		return either(strings.TrimSpace(asText(v)) == "", a[0], v), nil
	}},

	// Regular expressions.
	"matches": match(1, func(re *regexp.Regexp, s string, _ []string) any {
		at := re.FindStringIndex(s)
		return at != nil && at[0] == 0 && at[1] == len(s)
	}),
	"find":         match(1, func(re *regexp.Regexp, s string, _ []string) any { return re.MatchString(s) }),
	"replaceAll":   match(2, func(re *regexp.Regexp, s string, a []string) any { return expand(re, s, a[1], -1) }),
	"replaceFirst": match(2, func(re *regexp.Regexp, s string, a []string) any { return expand(re, s, a[1], 1) }),

	// Conditions.
	"equals":           test(1, func(s string, a []string) bool { return s == a[0] }),
	"equalsIgnoreCase": test(1, func(s string, a []string) bool { return strings.EqualFold(s, a[0]) }),
	"contains":         test(1, func(s string, a []string) bool { return strings.Contains(s, a[0]) }),
	"startsWith":       test(1, func(s string, a []string) bool { return strings.HasPrefix(s, a[0]) }),
	"endsWith":         test(1, func(s string, a []string) bool { return strings.HasSuffix(s, a[0]) }),
	"in": {least: 1, most: -1, call: func(_ Env, v any, a []any) (any, error) {
		for _, x := range a {
			if v != nil && asText(v) == asText(x) {
				return true, nil
			}
		}
		return false, nil
	}},
	"isNull":  {call: func(_ Env, v any, _ []any) (any, error) { return v == nil, nil }},
	"notNull": {call: func(_ Env, v any, _ []any) (any, error) { return v != nil, nil }},
	"isEmpty": text(0, func(s string, _ []string) any { return strings.TrimSpace(s) == "" }),
	"not":     {call: func(_ Env, v any, _ []any) (any, error) { return !truth(v), nil }},
	"and":     {least: 1, most: 1, call: func(_ Env, v any, a []any) (any, error) { return truth(v) && truth(a[0]), nil }},
	"or":      {least: 1, most: 1, call: func(_ Env, v any, a []any) (any, error) { return truth(v) || truth(a[0]), nil }},
	"ifElse":  {least: 2, most: 2, call: func(_ Env, v any, a []any) (any, error) { return either(truth(v), a[0], a[1]), nil }},

	// Numbers and times.
	"toNumber": {call: func(_ Env, v any, _ []any) (any, error) { return number(v) }},
	"plus":     arithmetic(whole(func(a, b int64) int64 { return a + b }), func(a, b float64) float64 { return a + b }),
	"minus":    arithmetic(whole(func(a, b int64) int64 { return a - b }), func(a, b float64) float64 { return a - b }),
	"multiply": arithmetic(whole(func(a, b int64) int64 { return a * b }), func(a, b float64) float64 { return a * b }),
	"divide":   arithmetic(divided(func(a, b int64) int64 { return a / b }), func(a, b float64) float64 { return a / b }),
	"mod":      arithmetic(divided(func(a, b int64) int64 { return a % b }), math.Mod),
	"gt":       order(func(a, b float64) bool { return a > b }),
	"ge":       order(func(a, b float64) bool { return a >= b }),
	"lt":       order(func(a, b float64) bool { return a < b }),
	"le":       order(func(a, b float64) bool { return a <= b }),
	"format":   {least: 1, most: 2, call: format},
}

func either(first bool, a, b any) any {
	if first {
		return a
	}
	return b
}

var errLong = errors.New("the result would be too long")

func replace(_ Env, v any, args []any) (any, error) {
	s, old, with := asText(v), asText(args[0]), asText(args[1])
	if n := strings.Count(s, old); len(s)+n*len(with) > maxValue {
		return nil, errLong
	}
	return strings.ReplaceAll(s, old, with), nil
}

// expand replaces n matches, or all; it stops growing at the bound, which the caller reports.
func expand(re *regexp.Regexp, s, with string, n int) string {
	with = groups(with)
	var out []byte
	last := 0
	for _, m := range re.FindAllStringSubmatchIndex(s, n) {
		out = append(out, s[last:m[0]]...)
		out = re.ExpandString(out, with, s, m)
		last = m[1]
		if len(out) > maxValue {
			return string(out)
		}
	}
	return string(append(out, s[last:]...))
}

func substring(_ Env, v any, args []any) (any, error) {
	runes := []rune(asText(v))
	bounds := [2]int64{0, int64(len(runes))}
	for i, a := range args {
		n, err := number(a)
		if err != nil {
			return nil, err
		}
		at, ok := n.(int64)
		if !ok || at < 0 || at > int64(len(runes)) {
			return nil, errors.New("the position is outside of the text")
		}
		bounds[i] = at
	}
	if bounds[0] > bounds[1] {
		return nil, errors.New("the end is before the start")
	}
	return string(runes[bounds[0]:bounds[1]]), nil
}

func base64Decode(_ Env, v any, _ []any) (any, error) {
	b, err := base64.StdEncoding.DecodeString(asText(v))
	return string(b), err
}

func escapeJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return string(b[1 : len(b)-1])
}

// format writes a time, or milliseconds since 1970, by a pattern of Java's SimpleDateFormat,
// in UTC unless a zone is given.
func format(_ Env, v any, args []any) (any, error) {
	at, ok := v.(time.Time)
	if !ok {
		n, err := number(v)
		if err != nil {
			return nil, err
		}
		at = time.UnixMilli(int64(float(n)))
	}
	at = at.UTC()
	if len(args) == 2 {
		zone, err := time.LoadLocation(asText(args[1]))
		if err != nil {
			return nil, errors.New("the time zone is unknown")
		}
		at = at.In(zone)
	}
	return javaTime(at, asText(args[0])), nil
}

// javaLayouts are the letters of SimpleDateFormat that are understood, by their number; the
// longest first.
var javaLayouts = []struct{ java, layout string }{
	{"yyyy", "2006"}, {"yy", "06"}, {"MMMM", "January"}, {"MMM", "Jan"}, {"MM", "01"}, {"M", "1"}, {"dd", "02"}, {"d", "2"},
	{"EEEE", "Monday"}, {"EEE", "Mon"}, {"HH", "15"}, {"hh", "03"}, {"mm", "04"}, {"ss", "05"}, {"a", "PM"}, {"XXX", "Z07:00"}, {"Z", "-0700"}, {"z", "MST"},
}

func javaTime(at time.Time, pattern string) string {
	var out strings.Builder
next:
	for i := 0; i < len(pattern); {
		rest := pattern[i:]
		if rest[0] == '\'' { // quoted text
			end := strings.IndexByte(rest[1:], '\'')
			if end < 0 {
				end = len(rest) - 1
			}
			out.WriteString(rest[1 : 1+end])
			i += min(end+2, len(rest))
			continue
		}
		if strings.HasPrefix(rest, "SSS") {
			out.WriteString(at.Format(".000")[1:])
			i += 3
			continue
		}
		for _, l := range javaLayouts {
			if strings.HasPrefix(rest, l.java) {
				out.WriteString(at.Format(l.layout))
				i += len(l.java)
				continue next
			}
		}
		out.WriteByte(rest[0])
		i++
	}
	return out.String()
}
