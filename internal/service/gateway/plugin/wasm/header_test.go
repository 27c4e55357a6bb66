package wasm_test

import (
	"slices"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/wasm"
)

// FuzzPairs: what is read from a filter never panics, and what was written is read again.
func FuzzPairs(f *testing.F) {
	f.Add(wasm.AppendPairs(nil, []gateway.Field{{Name: "a", Value: "1"}, {Name: "b", Value: ""}}))
	f.Add([]byte{0})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		fields, ok := wasm.ParsePairs(raw)
		if !ok {
			return
		}
		again, ok := wasm.ParsePairs(wasm.AppendPairs(nil, fields))
		if !ok || !slices.Equal(fields, again) {
			t.Errorf("%q became %q", fields, again)
		}
	})
}
