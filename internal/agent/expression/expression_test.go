package expression_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent/expression"
	"sluice.dev/sluice/internal/base/clock"
)

var env = expression.Env{
	Attributes: map[string]string{"filename": "a.LOG", "n": "41", "empty": "", "two words": "x", "path": "./a/b/c.txt"},
	Clock:      clock.Fixed(time.Date(2026, 11, 21, 10, 5, 6, 7e6, time.UTC)),
}

func TestText(t *testing.T) {
	for source, want := range map[string]string{
		"plain":                                        "plain",
		"a ${filename} b":                              "a a.LOG b",
		"$${filename}":                                 "${filename}",
		"${missing}":                                   "",
		"${'two words'}":                               "x",
		"${filename:toUpper()}":                        "A.LOG",
		"${filename:substringBeforeLast('.')}":         "a",
		"${path:substringAfterLast(\"/\")}":            "c.txt",
		"${n:plus(1)}":                                 "42",
		"${n:toNumber():gt(40)}":                       "true",
		"${filename:matches('a.*')}":                   "true",
		"${filename:matches('a')}":                     "false",
		"${filename:replaceAll('(.)\\.','$1-')}":       "a-LOG",
		"${filename:equals(${filename})}":              "true",
		"${missing:equals('')}":                        "false",
		"${missing:isNull():and(${n:gt(1)})}":          "true",
		"${missing:replaceNull('d')}":                  "d",
		"${n:equals('41'):not()}":                      "false",
		"${n:equals('1'):ifElse('a','b')}":             "b",
		"${literal('x'):append('y')}":                  "xy",
		`${now():format("yyyy-MM-dd'T'HH:mm:ss.SSS")}`: "2026-11-21T10:05:06.007",
		"${now():toNumber()}":                          "1795255506007",
		"${filename:in('x','a.LOG')}":                  "true",
		"${n:substring(0,1)}":                          "4",
		"${empty:isEmpty()}":                           "true",
		"${n : mod( 2 ) }":                             "1",
	} {
		tmpl, err := expression.Parse(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := tmpl.Text(env); got != want || err != nil {
			t.Errorf("%s = %q, %v, want %q", source, got, err, want)
		}
	}
}

func TestWhatDoesNotParse(t *testing.T) {
	for _, source := range []string{
		"${", "${}", "${a", "${a:", "${a:b}", "${a:nosuch()}", "${a:toUpper(}", "${a:append()}", "${a:append('x','y')}", "${a:append('x)}",
		"${a:matches('(')}", "${now}:${now(1)}", "${a:now()}", "${toUpper()}", strings.Repeat("${a:append(", 40), strings.Repeat("x", 70000),
	} {
		if tmpl, err := expression.Parse(source); err == nil {
			t.Errorf("%.40q parsed as %v", source, tmpl)
		}
	}
}

func TestWhatCannotBeEvaluated(t *testing.T) {
	for _, source := range []string{"${filename:plus(1)}", "${n:divide(0)}", "${n:substring(9)}", "${empty:base64Encode():plus(1)}",
		"${filename" + strings.Repeat(":replaceAll('.','$0$0$0$0$0$0$0$0')", 8) + "}"} {
		tmpl, err := expression.Parse(source)
		if err != nil {
			t.Errorf("%.40q: %v", source, err)
			continue
		}
		if got, err := tmpl.Text(env); err == nil {
			t.Errorf("%.40q = %.40q", source, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"${a:append('x')}", "$${a}", "${now():format('yyyy')}", "${a:replaceAll('(a)','$1$1')}", "${'a':equals(${b:toUpper()})}"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, source, value string) {
		tmpl, err := expression.Parse(source)
		if err != nil {
			return
		}
		s, err := tmpl.Text(expression.Env{Attributes: map[string]string{"a": value}, Clock: env.Clock})
		if err == nil && len(s) > 1<<20 {
			t.Errorf("%d bytes", len(s))
		}
	})
}
