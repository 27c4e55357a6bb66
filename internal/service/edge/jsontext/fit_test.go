package jsontext_test

import (
	"errors"
	"reflect"
	"testing"

	"sluice.dev/sluice/internal/service/edge/jsontext"
)

func TestFit(t *testing.T) {
	type inner struct {
		N int               `json:"n"`
		M map[string]string `json:"m"`
	}
	type outer struct {
		inner
		List  []*inner `json:"list"`
		Share float64  `json:"share"`
		On    bool     `json:"on"`
		own   int
	}
	for text, path := range map[string]string{
		`{"n":1,"list":[{"n":2},null],"share":0.5,"on":true,"m":{"a":"b"}}`: "-",
		`{"n":null,"list":null}`: "-",
		`{"own":1}`:              "own",
		`{"N":1}`:                "N",
		`{"n":1,"n":2}`:          "n",
		`{"n":1.5}`:              "n",
		`{"list":[{},{"x":1}]}`:  "list[1].x",
		`{"list":{}}`:            "list",
		`{"m":{"a":1}}`:          "m.a",
		`{"on":"true"}`:          "on",
		`{"share":"1"}`:          "share",
		`[]`:                     "",
	} {
		got := "-"
		if m := (*jsontext.Misfit)(nil); errors.As(jsontext.Fit([]byte(text), reflect.TypeFor[outer]()), &m) {
			got = m.Path
		}
		if got != path {
			t.Errorf("%s: %q, not %q", text, got, path)
		}
	}
	_ = outer{own: 1}
}
