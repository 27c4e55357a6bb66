package balancer

import (
	"sync"
	"sync/atomic"
	"time"
)

// Checks says what makes an address healthy and unhealthy. A count of 0 switches its rule off.
type Checks struct {
	Active  Probing
	Passive Rules
	// Threshold is the percentage of the weight that must be available; below, the whole
	// upstream counts as unhealthy.
	Threshold float64
}

// Rules are the thresholds by which reports change an address' health.
type Rules struct {
	TCPOnly     bool // statuses are not looked at
	Healthy     Statuses
	Unhealthy   Statuses
	Successes   int
	TCPFailures int
	Timeouts    int
	Failures    int // with one of the unhealthy statuses
}

// Probing are the active checks.
type Probing struct {
	Rules
	Kind              ProbeKind
	Path              string
	Headers           [][2]string
	SNI               string
	Verify            bool
	Timeout           time.Duration
	Concurrency       int
	HealthyInterval   time.Duration // between probes of a healthy address; 0: none
	UnhealthyInterval time.Duration
}

// On reports whether anything can change an address' health.
func (c *Checks) On() bool {
	return c.probes() || c.Passive.TCPFailures > 0 || c.Passive.Timeouts > 0 || c.Passive.Failures > 0
}

func (c *Checks) probes() bool { return c.Active.HealthyInterval > 0 || c.Active.UnhealthyInterval > 0 }

// Statuses is a set of HTTP statuses.
type Statuses [16]uint64

// NewStatuses returns the set of the codes; those above 999 are left out.
func NewStatuses(codes ...int) (s Statuses) {
	for _, c := range codes {
		if c >= 0 && c < 1000 {
			s[c>>6] |= 1 << (c & 63)
		}
	}
	return s
}

// Has reports whether the status is in the set.
func (s *Statuses) Has(code int) bool {
	return code >= 0 && code < 1000 && s[code>>6]&(1<<(code&63)) != 0
}

type outcome uint8

const (
	success outcome = iota
	tcpFailure
	timedOut
	httpFailure
)

// counters count reports since the last change of health. Active and passive checks share them.
type counters struct {
	mu   sync.Mutex
	some atomic.Bool // any of n is not 0
	n    [4]int
}

// report takes in one outcome by the rules and tells whether the health has changed.
//
// As in Kong, an outcome whose threshold is 0 is not counted at all: successes reset the
// failures only where they are counted.
func (a *Address) report(o outcome, r *Rules) (changed bool) {
	limit := [...]int{r.Successes, r.TCPFailures, r.Timeouts, r.Failures}[o]
	up := a.up.Load()
	if limit == 0 || up && o == success && !a.counts.some.Load() || !up && o != success {
		return false
	}
	c := &a.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	if up = a.up.Load(); !up && o != success {
		return false
	}
	if o == success {
		c.n = [4]int{c.n[success] + 1}
	} else {
		c.n[success] = 0
		c.n[o]++
	}
	if reached := c.n[o] >= limit; reached && up == (o == success) {
		c.n = [4]int{} // it is what it is said to be
	} else if reached {
		changed = true
		c.n = [4]int{}
		a.up.Store(o == success)
	}
	c.some.Store(c.n != [4]int{})
	return changed
}

// outcomeOf classifies a status; ok is false where the rules do not speak of it.
func (r *Rules) outcomeOf(status int) (o outcome, ok bool) {
	switch {
	case r.TCPOnly:
		return success, false
	case r.Healthy.Has(status):
		return success, true
	case r.Unhealthy.Has(status):
		return httpFailure, true
	}
	return success, false
}

// Answered reports to the passive checks that the address answered with a status.
func (a *Address) Answered(status int) {
	rules := &a.upstream.Config().Checks.Passive
	if rules.TCPOnly {
		a.upstream.passive(a, success)
	} else if o, ok := rules.outcomeOf(status); ok {
		a.upstream.passive(a, o)
	}
}

// Failed reports that the address could not be reached, broke off, or sent no answer in time.
func (a *Address) Failed(timeout bool) {
	if timeout {
		a.upstream.passive(a, timedOut)
	} else {
		a.upstream.passive(a, tcpFailure)
	}
}

func (u *Upstream) passive(a *Address, o outcome) {
	if a.report(o, &u.Config().Checks.Passive) {
		u.healthChanged(a, "requests")
	}
}

// Set makes an address healthy or unhealthy, whatever its counters say.
func (u *Upstream) set(a *Address, up bool) {
	if a.restore(up) {
		u.healthChanged(a, "an operator")
	}
}

// restore begins anew with a health and no counts, and reports whether the health changed.
func (a *Address) restore(up bool) (changed bool) {
	a.counts.mu.Lock()
	defer a.counts.mu.Unlock()
	a.counts.n = [4]int{}
	a.counts.some.Store(false)
	return a.up.Swap(up) != up
}

func (u *Upstream) healthChanged(a *Address, by string) {
	u.deps.Log.Info("an upstream's address changed its health",
		"upstream", u.Config().Name, "address", a.Addr, "healthy", a.Healthy(), "by", by)
	u.mu.Lock()
	u.retable()
	u.mu.Unlock()
}
