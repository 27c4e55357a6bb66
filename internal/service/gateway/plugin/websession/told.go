package websession

import (
	"strconv"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// Facts are what headers can tell of a session.
var Facts = []string{"id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"}

var factHeaders = map[string]string{"id": "Session-Id", "audience": "Session-Audience", "subject": "Session-Subject",
	"timeout": "Session-Timeout", "idling-timeout": "Session-Idling-Timeout",
	"rolling-timeout": "Session-Rolling-Timeout", "absolute-timeout": "Session-Absolute-Timeout"}

// Tell sets the headers of facts about a session. Without a session it removes them, so
// that none is the client's.
func (k *Keeper) Tell(h *gateway.Header, facts []string, s *Session) {
	if len(facts) == 0 {
		return
	}
	var idling, rolling, absolute, all time.Duration
	if s != nil {
		idling, rolling, absolute, all = k.Timeouts.left(s.main, k.now())
	}
	for _, fact := range facts {
		name := factHeaders[fact]
		seconds := func(d time.Duration) {
			if d >= 0 {
				h.Set(name, strconv.FormatInt(int64(d/time.Second), 10))
			}
		}
		h.Del(name)
		switch {
		case s == nil:
		case fact == "id":
			h.Set(name, s.ID())
		case fact == "audience":
			h.Set(name, k.Audience)
		case fact == "subject":
			h.Set(name, s.Subject())
		case fact == "timeout":
			seconds(all)
		case fact == "idling-timeout":
			seconds(idling)
		case fact == "rolling-timeout":
			seconds(rolling)
		case fact == "absolute-timeout":
			seconds(absolute)
		}
	}
}
