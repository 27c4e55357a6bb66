package jsontext_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/edge/jsontext"
)

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":[1,"[[[[\"{{{{"]}`:       "",
		`[[[[]]]]`:                     "nested more than 3 levels deep at byte 3",
		strings.Repeat("[", 1_000_000): "nested",
		"\"\xff\"":                     "not UTF-8",
		`{"a":}`:                       "not JSON",
		`[]]`:                          "not JSON",
		"":                             "not JSON",
	} {
		err := jsontext.Check([]byte(text), 3)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%.40s: %v, want %s", text, err, want)
		}
	}
}
