package awswire

import (
	"reflect"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/fault"
)

// Unserved is the reason of a request that asks for what an operation does not do here.
var Unserved = &fault.Reason{Kind: fault.Unsupported, Name: "NotImplemented"}

// Only refuses an input that sets any other member than those served. A member that would be
// ignored is a promise that would be broken, so an operation names what it acts on.
func Only(in any, served ...string) error {
	v := reflect.ValueOf(in).Elem()
	var set []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && !v.Field(i).IsZero() && !slices.Contains(served, f.Name) {
			set = append(set, f.Name)
		}
	}
	if len(set) == 0 {
		return nil
	}
	return Unserved.Field(set[0], "%s is not served here", strings.Join(set, ", "))
}
