package node

import (
	"context"
	"net/http"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// How long a request waits for the newest revision, and since when the database must have
// said something to be asked at all.
const (
	freshWithin = 500 * time.Millisecond
	freshSilent = 2 * time.Second
)

// fresh lets a request see what another node has answered before it was sent: behind a load
// balancer, a client's next request may come to another node than its last. It costs one
// look at the database's revision. Without the database the request sees what the node knows.
func fresh(s *store.Store, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Silence() < freshSilent {
			ctx, cancel := context.WithTimeout(r.Context(), freshWithin)
			_ = s.Refresh(ctx) // the store's own loop tells of it
			cancel()
		}
		next.ServeHTTP(w, r)
	})
}
