package awswire_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awswire"
)

// everything has a member of every kind.
type everything struct {
	Str    *string
	Int    *int64
	Float  *float64
	Bool   *bool
	Blob   []byte
	Time   *time.Time
	List   []string
	Map    map[string]string
	Struct *everything
	Many   []everything
}

func TestReadJSON(t *testing.T) {
	for _, tc := range []struct {
		body string
		want everything
		err  string
	}{
		{body: ``},
		{body: ` {} `},
		{body: `{"Str":null,"List":null,"Unknown":[1,{"a":[]},"x",true,null,-1.5e3]}`},
		{body: `{"Str":"a\"\\\/\b\f\n\r\tü\u00fc\ud83d\ude00"}`, want: everything{Str: new("a\"\\/\b\f\n\r\tüü😀")}},
		{body: `{"Str":"\ud83d"}`, want: everything{Str: new("\ufffd")}},
		{body: `{"Str":"\ud83d\u0041"}`, want: everything{Str: new("\ufffdA")}},
		{body: `{"Int":-12,"Float":1.5e2,"Bool":true}`, want: everything{Int: new(int64(-12)), Float: new(150.0), Bool: new(true)}},
		{body: `{"Int":1e3}`, want: everything{Int: new(int64(1000))}},
		{body: `{"Int":2.0}`, want: everything{Int: new(int64(2))}},
		{body: `{"Float":"Infinity"}`, want: everything{Float: new(inf)}},
		{body: `{"Blob":"AP8="}`, want: everything{Blob: []byte{0, 255}}},
		{body: `{"Blob":"AP\u0038="}`, want: everything{Blob: []byte{0, 255}}},
		{body: `{"Blob":""}`, want: everything{Blob: []byte{}}},
		{body: `{"Time":1422172800.5}`, want: everything{Time: new(time.UnixMilli(1422172800500).UTC())}},
		{body: `{"Time":"2015-01-25T08:00:00Z"}`, want: everything{Time: new(time.Unix(1422172800, 0).UTC())}},
		{body: `{"List":["a",null,"b"],"Map":{"k":"v","n":null}}`, want: everything{List: []string{"a", "b"}, Map: map[string]string{"k": "v"}}},
		{body: `{"List":[]}`, want: everything{List: []string{}}},
		{body: `{"List":["a","b"],"List":["c"]}`, want: everything{List: []string{"c"}}},
		{body: `{"Many":[{"Str":"x"}],"Many":[{"Int":1}]}`, want: everything{Many: []everything{{Int: new(int64(1))}}}},
		{body: `{"Struct":{"Many":[{"Str":"x"},{}]}}`, want: everything{Struct: &everything{Many: []everything{{Str: new("x")}, {}}}}},

		{body: `[]`, err: "START_ARRAY can not be converted to a structure"},
		{body: `"x"`, err: "STRING_VALUE can not be converted to a structure"},
		{body: `{`, err: "a member's name is due"},
		{body: `{"Str"}`, err: "a colon is due"},
		{body: `{"Str":"a"`, err: "a comma or a closing brace is due"},
		{body: `{"Str":"a",}`, err: "a member's name is due"},
		{body: `{"Str":"a"} x`, err: "something follows"},
		{body: `{"Str":"a` + "\n" + `"}`, err: "control character"},
		{body: `{"Str":"\x"}`, err: "unknown escape"},
		{body: `{"Str":"\u12"}`, err: "four hexadecimal digits"},
		{body: "{\"Str\":\"\xff\"}", err: "not UTF-8"},
		{body: `{"Str":"abc`, err: "does not end"},
		{body: `{"Str":7}`, err: "'str': NUMBER_VALUE can not be converted to a String"},
		{body: `{"Str":nul}`, err: "NULL_VALUE can not be converted"},
		{body: `{"Int":"7"}`, err: "'int': STRING_VALUE can not be converted to an Integer"},
		{body: `{"Int":1.5}`, err: "can not be converted to an Integer"},
		{body: `{"Int":99999999999999999999}`, err: "can not be converted to an Integer"},
		{body: `{"Int":-}`, err: "a digit is due"},
		{body: `{"Int":1.}`, err: "a digit is due"},
		{body: `{"Int":1e}`, err: "a digit is due"},
		{body: `{"Bool":"true"}`, err: "STRING_VALUE can not be converted to a Boolean"},
		{body: `{"Blob":"A"}`, err: "can not be converted to a Blob: it is not base64"},
		{body: "{\"Blob\":\"AP\n8=\"}", err: "it is not base64"},
		{body: `{"Blob":"AP9="}`, err: "it is not base64"},
		{body: `{"Time":"tomorrow"}`, err: "can not be converted to a Timestamp"},
		{body: `{"Time":1e300}`, err: "can not be converted to a Timestamp"},
		{body: `{"List":"a"}`, err: "can not be converted to a list"},
		{body: `{"Map":["a"]}`, err: "can not be converted to a map"},
		{body: `{"Struct":{"Many":[{},{"Int":"x"}]}}`, err: "'struct.many.2.member.int'"},
		{body: strings.Repeat(`{"Struct":`, 100), err: "deeper than 64"},
		{body: `{"Unknown":` + strings.Repeat(`[`, 100), err: "deeper than 64"},
	} {
		var got everything
		err := awswire.ReadJSON([]byte(tc.body), &got)
		switch {
		case tc.err == "" && err != nil:
			t.Errorf("%s: %v", tc.body, err)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%.60s: %v, want %s", tc.body, err, tc.err)
		case tc.err == "":
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.body, diff)
			}
		}
	}
}

func TestParseXML(t *testing.T) {
	for body, want := range map[string]string{
		`<a><b x="1">t</b></a>`:         "",
		`<?xml version="1.0"?><a/>`:     "",
		`<x:a xmlns:x="u"><x:b/></x:a>`: "",
		``:                              "no single root",
		`<a>`:                           "no single root",
		`<a></b>`:                       "do not nest",
		`</a>`:                          "do not nest",
		`<a/><b/>`:                      "no single root",
		`<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`: "document type",
		`<a>&nbsp;</a>`:            "entity",
		strings.Repeat("<a>", 100): "too deeply",
		`<?xml version="1.0" encoding="latin1"?><a>ü</a>`: "encoding",
	} {
		err := awswire.ParseXML([]byte(body))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.50s: %v, want %q", body, err, want)
		}
	}
}

func TestReadQuery(t *testing.T) {
	op := &awswire.Op{Name: "Op"}
	read := func(p awswire.Protocol, form string) (everything, error) {
		var got everything
		err := awswire.CodecOf(p).ReadRequest(&awswire.API{}, op, awswire.Message{Body: []byte(form)}, &got)
		return got, err
	}
	for _, tc := range []struct {
		p    awswire.Protocol
		form string
		want everything
		err  string
	}{
		{p: awswire.Query, form: "List.member.2=b&List.member.1=a&List.member.10=c", want: everything{List: []string{"a", "b", "c"}}},
		{p: awswire.Query, form: "List=", want: everything{List: []string{}}},
		{p: awswire.EC2, form: "List.1=a&List.2=b", want: everything{List: []string{"a", "b"}}},
		{p: awswire.Query, form: "Many.member.1.Int=1&Many.member.2.Struct.Str=x", want: everything{Many: []everything{{Int: new(int64(1))}, {Struct: &everything{Str: new("x")}}}}},
		{p: awswire.Query, form: "Map.entry.1.key=a&Map.entry.1.value=1&Map.entry.2.key=b", want: everything{Map: map[string]string{"a": "1", "b": ""}}},
		{p: awswire.Query, form: "Str=a&Str=b&Nonsense.x.y=1", want: everything{Str: new("a")}},
		{p: awswire.Query, form: "Bool=true&Float=1.5&Blob=AP8%3D", want: everything{Bool: new(true), Float: new(1.5), Blob: []byte{0, 255}}},
		{p: awswire.Query, form: "Bool=yes", err: "'bool'"},
		{p: awswire.Query, form: "List.member.x=a", err: "not a position"},
		{p: awswire.Query, form: "List.member.-1=a", err: "not a position"},
		{p: awswire.Query, form: "List.member.99999999999=a", err: "not a position"},
		{p: awswire.Query, form: "List.item.1=a", err: "'list'"},
		{p: awswire.Query, form: "Int.x=1", err: "'int'"},
		{p: awswire.Query, form: "Map.entry.1.value=1", err: "'map'"},
		{p: awswire.Query, form: strings.Repeat("a.", 100) + "=1", err: "deeper than 64"},
		{p: awswire.Query, form: strings.Repeat("a=1&", 5000), err: "more than 4096"},
		{p: awswire.Query, form: "a=%zz", err: "malformed"},
	} {
		got, err := read(tc.p, tc.form)
		switch {
		case tc.err == "" && err != nil:
			t.Errorf("%s: %v", tc.form, err)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%.60s: %v, want %s", tc.form, err, tc.err)
		case tc.err == "":
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.form, diff)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	type inner struct {
		Name *string `aws:"Name,required" len:"1,3"`
	}
	type input struct {
		Name   *string           `aws:"Name,required" len:"1,5" pattern:"[a-z]+"`
		Count  *int64            `range:"1,10"`
		Kind   *string           `enum:"A|B"`
		Data   []byte            `len:",4"`
		Secret *string           `aws:"Secret,secret" len:"8,"`
		Tags   []string          `len:",2" item.len:"1,3"`
		Map    map[string]string `key.pattern:"k.*" value.len:",2"`
		Inner  []inner
		ARN    *string
	}
	const head = "1 validation error detected: Value "
	for _, tc := range []struct {
		in   input
		want string
	}{
		{input{Name: new("abc"), Count: new(int64(10)), Kind: new("A"), Data: []byte("1234"), Tags: []string{"a"}, Map: map[string]string{"k1": "v"}}, ""},
		{input{}, head + "null at 'name' failed to satisfy constraint: Member must not be null"},
		{input{Name: new("abcdef")}, head + "'abcdef' at 'name' failed to satisfy constraint: Member must have length less than or equal to 5"},
		{input{Name: new("A")}, head + "'A' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
		{input{Name: new("a\n")}, head + "'a\n' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
		{input{Name: new("a"), Count: new(int64(0))}, head + "'0' at 'count' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{input{Name: new("a"), Count: new(int64(11))}, head + "'11' at 'count' failed to satisfy constraint: Member must have value less than or equal to 10"},
		{input{Name: new("a"), Kind: new("C")}, head + "'C' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [A, B]"},
		{input{Name: new("a"), Data: []byte("12345")}, head + "'5 bytes' at 'data' failed to satisfy constraint: Member must have length less than or equal to 4"},
		{input{Name: new("a"), Secret: new("hunter2")}, head + "'***' at 'secret' failed to satisfy constraint: Member must have length greater than or equal to 8"},
		{input{Name: new("a"), Tags: []string{"a", "long"}}, head + "'[a, long]' at 'tags' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 3, Member must have length greater than or equal to 1]"},
		{input{Name: new("a"), Tags: []string{"a", "b", "c"}}, head + "'[a, b, c]' at 'tags' failed to satisfy constraint: Member must have length less than or equal to 2"},
		{input{Name: new("a"), Map: map[string]string{"x": "v"}}, head + "'x' at 'map' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: k.*]"},
		{input{Name: new("a"), Map: map[string]string{"k": "long"}}, head + "'long' at 'map' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 2]"},
		{input{Name: new("a"), Inner: []inner{{Name: new("x")}, {}}}, head + "null at 'inner.2.member.name' failed to satisfy constraint: Member must not be null"},
		{input{Name: new("üöä")}, head + "'üöä' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
	} {
		err := awswire.Validate(&tc.in)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	var many struct {
		Inner []inner
	}
	many.Inner = make([]inner, 50)
	if err := awswire.Validate(&many); err == nil || strings.Count(err.Error(), "Value null") != 10 || !strings.HasPrefix(err.Error(), "50 validation errors") {
		t.Errorf("%v", err)
	}
}

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern, value string
		want           bool
	}{
		{`[a-z]+`, "abc", true},
		{`[a-z]+`, "abc!", false},
		{`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`, "/a/", true},
		{`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`, "/a", false},
		{`[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`, "a😀", true},
		{`[\u0020-\u00FF]*`, "😀", false},
		{`^(?!\s*$).+`, "  ", false},
		{`^(?!\s*$).+`, " a", true},
		{`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, "Ünï 1", true},
	} {
		re, ok := awswire.Pattern(tc.pattern)
		if !ok {
			t.Errorf("%s: not expressible", tc.pattern)
		} else if re.MatchString(tc.value) != tc.want {
			t.Errorf("%s on %q: %v", tc.pattern, tc.value, !tc.want)
		}
	}
	if _, ok := awswire.Pattern(`(?!aws:).*`); ok {
		t.Error("a look-ahead was accepted")
	}
}

func TestTimes(t *testing.T) {
	want := time.UnixMilli(1422172800500).UTC()
	for _, s := range []string{"2015-01-25T08:00:00.5Z", "2015-01-25T09:00:00.5+01:00", "1422172800.5", " 2015-01-25T08:00:00.500Z"} {
		got, err := awswire.ParseTime(s)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "x", "NaN", "1e99", "2015-13-25T08:00:00Z"} {
		if got, err := awswire.ParseTime(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestTagsAreChecked(t *testing.T) {
	for name, typ := range map[string]any{
		"option": &struct {
			A *string `aws:"A,nonsense"`
		}{},
		"type": &struct{ A *int32 }{},
		"range": &struct {
			A *int64 `range:"x,"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = awswire.Validate(typ)
		}()
	}
}

var inf = math.Inf(1)
