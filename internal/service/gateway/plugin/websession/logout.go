package websession

import (
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
)

// Logout says which requests ask to end a session: those of one of the methods that have
// one of the marks. A mark that is empty is none.
type Logout struct {
	Methods []string
	Suffix  string // of the path
	Arg     string // of the query
	Field   string // of the body
}

// Asked reports whether a request asks to end the session.
func (l *Logout) Asked(x *gateway.Exchange) bool {
	if !slices.Contains(l.Methods, x.Request.Method) {
		return false
	}
	if l.Suffix != "" && strings.HasSuffix(x.Request.Path, l.Suffix) {
		return true
	}
	if l.Arg != "" && x.Request.HasQuery {
		if _, n := gateway.QueryValue(x.Request.RawQuery, l.Arg); n > 0 {
			return true
		}
	}
	if l.Field == "" {
		return false
	}
	_, n := auth.BodyValue(x, l.Field)
	return n > 0
}
