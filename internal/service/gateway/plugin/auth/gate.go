package auth

import (
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Method finds out who a request is from. It authenticates the exchange and returns nil,
// or returns why it cannot.
type Method interface {
	Authenticate(x *gateway.Exchange) *Failure
}

// Failure is the answer to a request that was not authenticated.
type Failure struct {
	Message   string
	Challenge string // WWW-Authenticate; empty for none
	Status    int    // 401 where it is 0
	// Body, where set, is sent as it is in place of the usual error with Message.
	Body []byte
}

// Gate runs a method. It is an instance of the plugin.
type Gate struct {
	Method
	Directory gateway.Directory
	// Anonymous is the consumer, by id or username, of requests that fail; "" for none.
	Anonymous string
	// SkipPreflight lets OPTIONS requests pass unseen.
	SkipPreflight bool
}

// NewGate reads what every configuration has: anonymous, and run_on_preflight where there
// is one.
func NewGate(m Method, config schema.Record, env gateway.Env) *Gate {
	g := &Gate{Method: m, Directory: env.Directory}
	g.Anonymous, _ = config["anonymous"].(string)
	if run, given := config["run_on_preflight"].(bool); given {
		g.SkipPreflight = !run
	}
	return g
}

// Access implements gateway.Accessor.
func (g *Gate) Access(x *gateway.Exchange) {
	if g.SkipPreflight && x.Request.Method == "OPTIONS" {
		return
	}
	if g.Anonymous != "" && x.Credential() != nil {
		return // another method has succeeded, and one is enough
	}
	failed := g.Authenticate(x)
	switch {
	case failed == nil || x.Answered():
		return
	case g.Anonymous == "":
		failed.tell(x)
		return
	}
	c, ok := g.Directory.Consumer(g.Anonymous)
	if !ok {
		x.Fail(500, "An unexpected error occurred")
		return
	}
	x.Authenticate(c, nil)
}

func (f *Failure) tell(x *gateway.Exchange) {
	if f.Challenge != "" {
		x.Response.Header.Add("WWW-Authenticate", f.Challenge)
	}
	status := f.Status
	if status == 0 {
		status = 401
	}
	if f.Body != nil {
		x.Respond(status, f.Body, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"})
		return
	}
	x.Fail(status, f.Message)
}

// Accept authenticates the exchange as the owner of a stored credential. identifier is
// what the upstream is told of the credential. It is false where the owner is gone.
func Accept(x *gateway.Exchange, d gateway.Directory, credential schema.Record, identifier string) bool {
	ref, _ := credential["consumer"].(schema.Record)
	owner, _ := ref["id"].(string)
	c, ok := d.Consumer(owner)
	if !ok {
		return false
	}
	id, _ := credential["id"].(string)
	x.Authenticate(c, &gateway.Credential{ID: id, ConsumerID: owner, Identifier: identifier})
	return true
}
