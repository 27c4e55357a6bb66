package schema_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// A name of millions of segments must not be followed down: the stack would not hold it.
func TestNestDeep(t *testing.T) {
	depth := 0
	for v := any(schema.Nest([][2]string{{"a" + strings.Repeat("[b]", 3_000_000), "1"}})); ; depth++ {
		r, ok := v.(schema.Record)
		if !ok {
			break
		}
		for _, v = range r {
		}
	}
	if depth > 100 {
		t.Errorf("nested %d levels deep", depth)
	}
}

func TestDistinct(t *testing.T) {
	set := &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{{Name: "s", Kind: schema.Set}}}
	end := schema.Record{"ip": "::1"}
	r := schema.Record{"s": []any{"b", "a", end, "b", 1.0, schema.Record{"ip": "::1"}, 1.0, "1", true}}
	set.Distinct(r)
	if d := cmp.Diff([]any{"b", "a", end, 1.0, "1", true}, r["s"]); d != "" {
		t.Error(d)
	}
}

// A body of 10 MB holds a million tags; comparing each with each would take an hour.
func TestDistinctMany(t *testing.T) {
	many := make([]any, 300_000)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	set := &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{{Name: "s", Kind: schema.Set}}}
	start := time.Now()
	set.Distinct(schema.Record{"s": many})
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}
